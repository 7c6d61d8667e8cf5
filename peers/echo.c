/* The ceiling of a UDP service on this machine: whatever comes goes back with the response bit set.
   Packets are taken and sent in batches (recvmmsg, sendmmsg), as a fast server would. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BATCH = 64, SIZE = 4096 };

static unsigned char buffers[BATCH][SIZE];
static struct sockaddr_in clients[BATCH];
static struct iovec pieces[BATCH];
static struct mmsghdr messages[BATCH];

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    int sock = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &here.sin_addr);
    setsockopt(sock, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(sock, (struct sockaddr *)&here, sizeof here)) { perror("bind"); return 1; }
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            pieces[i] = (struct iovec){buffers[i], SIZE};
            messages[i].msg_hdr = (struct msghdr){.msg_name = &clients[i], .msg_namelen = sizeof clients[i], .msg_iov = &pieces[i], .msg_iovlen = 1};
        }
        int got = recvmmsg(sock, messages, BATCH, MSG_WAITFORONE, NULL);
        if (got < 0) continue;
        for (int i = 0; i < got; i++) {
            pieces[i].iov_len = messages[i].msg_len;
            if (messages[i].msg_len > 3) buffers[i][2] |= 0x84;
        }
        for (int sent = 0; sent < got;) {
            int now = sendmmsg(sock, messages + sent, got - sent, 0);
            sent += now > 0 ? now : 1;
        }
    }
}
