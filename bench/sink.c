/* Takes mail as a primary does that is neither always ready nor knows everybody, as smtp-sink cannot.
 *
 *     sink PORT MESSAGES
 *
 * Recipients are numbered, as smtp-source -N numbers them: 17@example.org. Of every hundred it puts ten off (450 to
 * RCPT) and refuses two (550); which ones depends on the number alone. Recipients without a number get what they were
 * sent: those are the reports about the refused. It ends when all of MESSAGES have had an answer and there was a report
 * for each that was refused, and prints counts as one JSON object; SIGUSR1 has it print them at any time. With 0 for
 * MESSAGES it does not end. It offers what smtp-sink does, PIPELINING among it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINE = 1024, CHUNK = 65536, OUT = 8192, EVENTS = 64 };

typedef struct {
    int fd, taken, numbered; /* recipients taken of this message; of them those with a number */
    int content, dots;       /* within DATA; how much of CR LF . CR LF was seen */
    size_t length, out;
    char line[LINE], replies[OUT];
} Session;

static long wanted, accepted, put_off, refused, reports;
static volatile sig_atomic_t asked;

static void ask(int number) {
    (void)number;
    asked = 1;
}

static void print_counts(void) {
    printf("{\"accepted\": %ld, \"put_off\": %ld, \"refused\": %ld, \"reports\": %ld}\n", accepted, put_off, refused, reports);
    fflush(stdout);
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void answer(Session *s, const char *text) {
    size_t length = strlen(text);
    if (s->out + length > OUT) exit(3); /* nobody pipelines that much */
    memcpy(s->replies + s->out, text, length);
    s->out += length;
}

static void forget(Session *s) {
    s->taken = s->numbered = 0;
}

static void recipient(Session *s, const char *line) {
    const char *at = strchr(line, '<');
    char *end;
    long number = at ? strtol(at + 1, &end, 10) : -1;
    int has = at && end != at + 1;
    if (has && number % 10 == 3) {
        put_off++;
        answer(s, "450 4.2.1 this mailbox is busy\r\n");
    } else if (has && number % 50 == 7) {
        refused++;
        answer(s, "550 5.1.1 nobody of that name\r\n");
    } else {
        s->taken++;
        s->numbered += has;
        answer(s, "250 2.1.5 fine\r\n");
    }
}

static int command(Session *s) {
    const char *line = s->line;
    if (!strncasecmp(line, "EHLO", 4)) {
        forget(s);
        answer(s, "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SIZE\r\n250 ENHANCEDSTATUSCODES\r\n");
    } else if (!strncasecmp(line, "HELO", 4) || !strncasecmp(line, "RSET", 4) || !strncasecmp(line, "MAIL", 4)) {
        forget(s);
        answer(s, "250 2.0.0 fine\r\n");
    } else if (!strncasecmp(line, "RCPT", 4)) {
        recipient(s, line);
    } else if (!strncasecmp(line, "DATA", 4)) {
        if (s->taken) {
            s->content = 1;
            s->dots = 2; /* the line before ended with CR LF */
            answer(s, "354 go ahead\r\n");
        } else {
            answer(s, "554 5.5.1 no recipients\r\n");
        }
    } else if (!strncasecmp(line, "QUIT", 4)) {
        answer(s, "221 2.0.0 bye\r\n");
        return 0;
    } else {
        answer(s, "250 2.0.0 fine\r\n");
    }
    return 1;
}

static void message(Session *s) {
    accepted += s->numbered;
    reports += s->taken - s->numbered;
    forget(s);
    s->content = 0;
    answer(s, "250 2.0.0 taken\r\n");
}

/* 0: the session is over. */
static int consume(Session *s, const char *data, size_t length) {
    static const char end[] = "\r\n.\r\n";
    for (size_t at = 0; at < length; at++) {
        char c = data[at];
        if (s->content) {
            if (!s->dots) { /* nothing before the next CR can be the end */
                const char *next = memchr(data + at, '\r', length - at);
                if (!next) return 1;
                at = next - data;
                s->dots = 1;
                continue;
            }
            s->dots = c == end[s->dots] ? s->dots + 1 : c == '\r';
            if (s->dots == 5) message(s);
        } else if (c == '\n') {
            s->line[s->length] = 0;
            s->length = 0;
            if (!command(s)) return 0;
        } else if (s->length < LINE - 1) {
            s->line[s->length++] = c;
        }
    }
    return 1;
}

static void stop(Session *s) {
    close(s->fd);
    free(s);
}

int main(int count, char **words) {
    static char data[CHUNK];
    struct epoll_event events[EVENTS];
    if (count != 3) {
        fprintf(stderr, "usage: sink PORT MESSAGES\n");
        return 2;
    }
    struct sigaction on_ask = {.sa_handler = ask};
    sigaction(SIGUSR1, &on_ask, NULL);
    signal(SIGPIPE, SIG_IGN);
    wanted = atol(words[2]);
    int door = socket(AF_INET, SOCK_STREAM, 0), poll = epoll_create1(0), one = 1;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(door, (struct sockaddr *)&where, sizeof where) || listen(door, 512)) fail("bind");
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poll, EPOLL_CTL_ADD, door, &event);
    while (!wanted || accepted + put_off + refused < wanted || reports < refused) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        if (asked) {
            asked = 0;
            print_counts();
        }
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int at = 0; at < ready; at++) {
            Session *s = events[at].data.ptr;
            if (!s) {
                int fd = accept(door, NULL, NULL);
                if (fd < 0) continue;
                if (!(s = calloc(1, sizeof *s))) fail("calloc");
                s->fd = fd;
                event.data.ptr = s;
                epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
                answer(s, "220 sink ESMTP\r\n");
            } else {
                ssize_t got = read(s->fd, data, CHUNK);
                if (got <= 0) {
                    stop(s);
                    continue;
                }
                if (!consume(s, data, got)) {
                    if (write(s->fd, s->replies, s->out) < 0) perror("write");
                    stop(s);
                    continue;
                }
            }
            /* Replies are short: what does not fit into the socket means that nobody reads them. */
            if (s->out && write(s->fd, s->replies, s->out) != (ssize_t)s->out) stop(s);
            else s->out = 0;
        }
    }
    print_counts();
    return 0;
}
