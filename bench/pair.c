/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a bare TCP connection over loopback transfers between two processes: one sends pieces of
 * 128 KiB out of one buffer, the other receives them into one.  Nothing else is done with the
 * data, so no storage system on the same cores can be faster.
 *
 *     bench_pair [SECONDS] --> {"mb_per_s": 5600.1}
 *
 * Threading: two processes, each with plain blocking calls.   Memory: a buffer each.
 */
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE_BYTES ((size_t)128 << 10)

static void check(bool good, const char *what)
{
    if (good)
        return;
    perror(what);
    exit(1);
}

static double now_s(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void *piece_alloc(void)
{
    void *const piece = aligned_alloc(4096, PIECE_BYTES);
    check(piece != NULL, "memory");
    memset(piece, 1, PIECE_BYTES);
    return piece;
}

/* Until the receiver has gone. */
static void send_for_ever(const struct sockaddr_in *to)
{
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const void *const piece = piece_alloc();

    check(connect(fd, (const struct sockaddr *)to, sizeof *to) == 0, "connect");
    while (send(fd, piece, PIECE_BYTES, MSG_NOSIGNAL) > 0)
        continue;
    _exit(0);
}

static double receive_for(int fd, double seconds)
{
    void *const piece = piece_alloc();
    const double start = now_s();
    uint64_t bytes = 0;
    double now;

    do {
        const ssize_t got = recv(fd, piece, PIECE_BYTES, 0);
        check(got > 0, "recv");
        bytes += (uint64_t)got;
        now = now_s();
    } while (now - start < seconds);
    free(piece);
    return (double)bytes / (now - start) / 1e6;
}

int main(int argc, char **argv)
{
    struct sockaddr_in addr = { .sin_family = AF_INET };
    socklen_t bytes = sizeof addr;
    const double seconds = argc > 1 ? strtod(argv[1], NULL) : 1;
    const int listener = socket(AF_INET, SOCK_STREAM, 0);

    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    check(bind(listener, (const struct sockaddr *)&addr, bytes) == 0, "bind");
    check(listen(listener, 1) == 0, "listen");
    check(getsockname(listener, (struct sockaddr *)&addr, &bytes) == 0, "getsockname");
    const pid_t sender = fork();
    check(sender >= 0, "fork");
    if (sender == 0)
        send_for_ever(&addr);
    const int fd = accept(listener, NULL, NULL);
    check(fd >= 0, "accept");
    printf("{\"mb_per_s\": %.1f}\n", receive_for(fd, seconds));
    close(fd);
    waitpid(sender, NULL, 0);
    return 0;
}
