/* Asks a nameserver as fast as it answers, and costs less than the server: where dnsperf is the bottleneck, this is not.
 *
 *     asker ADDRESS PORT FILE SECONDS SOCKETS WINDOW
 *
 * FILE holds questions as they go over TCP: two octets of length, then the message; they are asked in turn, again and
 * again, over SOCKETS sockets with WINDOW questions open on each. A question without answer for a second is lost and
 * its place is used again. Datagrams go and come by the batch (sendmmsg, recvmmsg). What is checked of an answer: its
 * id, that it is a response, its response code. Prints one JSON object. Stops by itself.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ANSWER = 4096, MAX_SOCKETS = 16, MAX_WINDOW = 1024 };

typedef struct {
    int fd, free_count;
    uint16_t free_ids[MAX_WINDOW];
    double sent_at[MAX_WINDOW]; /* 0: nothing open under this id */
} Client;

static Client clients[MAX_SOCKETS];
static unsigned char answers[BATCH][ANSWER];
static unsigned char ids[BATCH][2];
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_iov[BATCH], out_iov[BATCH][2];
static unsigned char **questions;
static uint16_t *lengths;
static size_t question_count, next_question;
static uint64_t completed, lost, octets, codes[16];
static double latency_sum, latency_max;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void read_questions(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t room = 0;
    unsigned char head[2];
    if (!file) fail(path);
    while (fread(head, 1, 2, file) == 2) {
        if (question_count == room) {
            room = room ? room * 2 : 1024;
            questions = realloc(questions, room * sizeof *questions);
            lengths = realloc(lengths, room * sizeof *lengths);
            if (!questions || !lengths) fail("memory");
        }
        uint16_t length = head[0] << 8 | head[1];
        unsigned char *question = malloc(length);
        if (!question || length < 12 || fread(question, 1, length, file) != length) fail("a question");
        questions[question_count] = question;
        lengths[question_count++] = length;
    }
    fclose(file);
    if (!question_count) fail("no questions");
}

static void ask(Client *client, double at) {
    while (client->free_count) {
        int count = client->free_count < BATCH ? client->free_count : BATCH;
        for (int i = 0; i < count; i++) {
            uint16_t id = client->free_ids[client->free_count - 1 - i];
            size_t number = (next_question + i) % question_count;
            ids[i][0] = id >> 8, ids[i][1] = id & 255;
            out_iov[i][0] = (struct iovec){ids[i], 2};
            out_iov[i][1] = (struct iovec){questions[number] + 2, lengths[number] - 2};
            out[i].msg_hdr = (struct msghdr){.msg_iov = out_iov[i], .msg_iovlen = 2};
        }
        int sent = sendmmsg(client->fd, out, count, MSG_DONTWAIT);
        if (sent <= 0) return;
        for (int i = 0; i < sent; i++) client->sent_at[client->free_ids[--client->free_count]] = at;
        next_question = (next_question + sent) % question_count;
    }
}

static int hear(Client *client, double at, int window) {
    for (int i = 0; i < BATCH; i++) {
        in_iov[i] = (struct iovec){answers[i], ANSWER};
        in[i].msg_hdr = (struct msghdr){.msg_iov = &in_iov[i], .msg_iovlen = 1};
    }
    int count = recvmmsg(client->fd, in, BATCH, MSG_DONTWAIT, NULL);
    for (int i = 0; i < count; i++) {
        unsigned id = answers[i][0] << 8 | answers[i][1];
        if (in[i].msg_len < 12 || id >= (unsigned)window || !client->sent_at[id] || !(answers[i][2] & 128)) continue;
        double took = at - client->sent_at[id];
        latency_sum += took;
        if (took > latency_max) latency_max = took;
        client->sent_at[id] = 0;
        client->free_ids[client->free_count++] = id;
        completed++;
        octets += in[i].msg_len;
        codes[answers[i][3] & 15]++;
    }
    return count;
}

static void give_up(Client *client, double at, int window) {
    for (int id = 0; id < window; id++)
        if (client->sent_at[id] && at - client->sent_at[id] > 1) {
            client->sent_at[id] = 0;
            client->free_ids[client->free_count++] = id;
            lost++;
        }
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: asker ADDRESS PORT FILE SECONDS SOCKETS WINDOW\n");
        return 2;
    }
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &server.sin_addr) != 1) fail(argv[1]);
    read_questions(argv[3]);
    int sockets = atoi(argv[5]), window = atoi(argv[6]);
    if (sockets < 1 || sockets > MAX_SOCKETS || window < 1 || window > MAX_WINDOW) fail("SOCKETS or WINDOW");
    struct pollfd polled[MAX_SOCKETS];
    for (int s = 0; s < sockets; s++) {
        Client *client = &clients[s];
        client->fd = socket(AF_INET, SOCK_DGRAM, 0);
        if (client->fd < 0 || connect(client->fd, (struct sockaddr *)&server, sizeof server)) fail("socket");
        for (int id = 0; id < window; id++) client->free_ids[client->free_count++] = id;
        polled[s] = (struct pollfd){client->fd, POLLIN, 0};
    }
    double start = now(), end = start + atof(argv[4]), swept = start, at = start;
    while ((at = now()) < end) {
        int heard = 0;
        for (int s = 0; s < sockets; s++) {
            int count = hear(&clients[s], at, window);
            if (count > 0) heard += count;
            ask(&clients[s], at);
        }
        if (!heard) poll(polled, sockets, 10);
        if (at - swept > 0.25) {
            for (int s = 0; s < sockets; s++) give_up(&clients[s], at, window);
            swept = at;
        }
    }
    printf("{\"rate\": %.1f, \"completed\": %lu, \"lost\": %lu, \"octets\": %lu, \"latency\": %.6f, \"latency_max\": %.6f, "
           "\"rcodes\": {\"NOERROR\": %lu, \"SERVFAIL\": %lu, \"NXDOMAIN\": %lu, \"REFUSED\": %lu}}\n",
           completed / (at - start), completed, lost, completed ? octets / completed : 0,
           completed ? latency_sum / completed : 0, latency_max, codes[0], codes[2], codes[3], codes[5]);
    return 0;
}
