/* Sends mail as smtp-source -d does, and takes the time of every answer to the end of a message.
 *
 *     mailer PORT MESSAGES SESSIONS OCTETS
 *
 * Over SESSIONS connections to 127.0.0.1, that are kept, one command a round trip (no PIPELINING, as smtp-source).
 * Recipients are numbered: 0@example.org and so on. What counts is from the last octet of the content being handed to
 * the kernel until "250" is read. Prints one JSON object with times in milliseconds. Ends with 1 at any other answer.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 1024, EVENTS = 64 };
enum { GREETING, HELLO, MAIL, RCPT, DATA, CONTENT, QUIT };
static const char expected[] = {'2', '2', '2', '2', '3', '2', '2'};

typedef struct {
    int fd, step;
    long number;         /* of the recipient */
    size_t length, sent; /* of the reply so far; of the content */
    double ended_at;
    char line[LINE];
} Session;

static long wanted, begun, done;
static double *times;
static char *content;
static size_t content_length;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

static void say(Session *s, const char *text) {
    if (write(s->fd, text, strlen(text)) != (ssize_t)strlen(text)) fail("write");
}

/* 1: all of the content is with the kernel. */
static int send_content(Session *s) {
    while (s->sent < content_length) {
        ssize_t put = write(s->fd, content + s->sent, content_length - s->sent);
        if (put < 0 && errno == EAGAIN) return 0;
        if (put < 0) fail("write");
        s->sent += put;
    }
    s->ended_at = now();
    return 1;
}

/* What is said after a reply; 0: the session is over. */
static int next(Session *s) {
    char text[LINE];
    if (s->line[0] != expected[s->step]) {
        fprintf(stderr, "step %d: %s\n", s->step, s->line);
        exit(1);
    }
    if (s->step == CONTENT) times[done++] = now() - s->ended_at;
    switch (s->step) {
    case GREETING:
        say(s, "EHLO mailer.bench.test\r\n");
        s->step = HELLO;
        break;
    case HELLO:
    case CONTENT:
        if (begun < wanted) {
            s->number = begun++;
            say(s, "MAIL FROM:<sender@bench.test>\r\n");
            s->step = MAIL;
        } else {
            say(s, "QUIT\r\n");
            s->step = QUIT;
        }
        break;
    case MAIL:
        snprintf(text, sizeof text, "RCPT TO:<%ld@example.org>\r\n", s->number);
        say(s, text);
        s->step = RCPT;
        break;
    case RCPT:
        say(s, "DATA\r\n");
        s->step = DATA;
        break;
    case DATA:
        s->sent = 0;
        s->step = CONTENT;
        send_content(s);
        break;
    case QUIT:
        return 0;
    }
    return 1;
}

/* 0: the session is over. */
static int hear(Session *s) {
    char data[LINE];
    for (;;) {
        ssize_t got = read(s->fd, data, sizeof data);
        if (got < 0 && errno == EAGAIN) return 1;
        if (got <= 0) fail("the relay hung up");
        for (ssize_t at = 0; at < got; at++) {
            if (data[at] != '\n') {
                if (s->length < LINE - 1) s->line[s->length++] = data[at];
                continue;
            }
            s->line[s->length] = 0;
            int last = s->length >= 3 && s->line[3] != '-';
            s->length = 0;
            if (last && !next(s)) return 0;
        }
    }
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return left < right ? -1 : left > right;
}

int main(int count, char **words) {
    struct epoll_event events[EVENTS];
    static const char head[] = "From: <sender@bench.test>\r\nTo: <you@example.org>\r\nSubject: measured\r\n\r\n";
    if (count != 5) {
        fprintf(stderr, "usage: mailer PORT MESSAGES SESSIONS OCTETS\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    wanted = atol(words[2]);
    int sessions = atoi(words[3]), open = sessions, poll = epoll_create1(0), one = 1;
    size_t size = atol(words[4]);
    times = calloc(wanted + 1, sizeof *times);
    content = malloc(sizeof head + size + 128);
    if (!times || !content || wanted < 1 || sessions < 1) fail("arguments");
    memcpy(content, head, sizeof head - 1);
    for (content_length = sizeof head - 1; content_length < size; content_length++)
        content[content_length] = "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX\r\n"[(content_length - sizeof head + 1) % 62];
    if (content[content_length - 1] == '\r') content[content_length - 1] = 'X';
    memcpy(content + content_length, "\r\n.\r\n", 5);
    content_length += 5;
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons(atoi(words[1]))};
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    double started = now();
    for (int at = 0; at < sessions; at++) {
        Session *s = calloc(1, sizeof *s);
        if (!s || (s->fd = socket(AF_INET, SOCK_STREAM, 0)) < 0) fail("socket");
        if (connect(s->fd, (struct sockaddr *)&where, sizeof where)) fail("connect");
        setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        fcntl(s->fd, F_SETFL, O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = s};
        epoll_ctl(poll, EPOLL_CTL_ADD, s->fd, &event);
    }
    while (open) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        if (ready < 0 && errno != EINTR) fail("epoll_wait");
        for (int at = 0; at < ready; at++) {
            Session *s = events[at].data.ptr;
            if (s->step == CONTENT && s->sent < content_length) send_content(s);
            if ((events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && !hear(s)) {
                close(s->fd);
                free(s);
                open--;
            }
        }
    }
    double taken = (now() - started) / 1e3;
    qsort(times, done, sizeof *times, by_size);
    printf("{\"rate\": %.1f, \"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}\n", done / taken, times[done / 2],
           times[done * 99 / 100], times[done - 1]);
    return 0;
}
