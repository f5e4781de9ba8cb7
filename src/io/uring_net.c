/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/uring_internal.h"

#define LISTEN_BACKLOG 1024 /* A whole site may reconnect at once. */

socklen_t uring_addr_to_sockaddr(const struct io_addr *addr, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof *out);
    if (addr->family == IO_FAMILY_IPV4) {
        struct sockaddr_in *const v4 = (struct sockaddr_in *)out;
        v4->sin_family = AF_INET;
        v4->sin_port = htons(addr->port);
        memcpy(&v4->sin_addr, addr->ip, sizeof v4->sin_addr);
        return sizeof *v4;
    }
    struct sockaddr_in6 *const v6 = (struct sockaddr_in6 *)out;
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(addr->port);
    v6->sin6_scope_id = addr->scope_id;
    memcpy(&v6->sin6_addr, addr->ip, sizeof v6->sin6_addr);
    return sizeof *v6;
}

/* An IPv4 peer of a socket that listens on :: shows as IPv4, not as ::ffff:a.b.c.d. */
static struct status MUST_CHECK addr_from_sockaddr(const struct sockaddr_storage *from,
                                                   struct io_addr *out)
{
    const struct sockaddr_in *const v4 = (const struct sockaddr_in *)from;
    const struct sockaddr_in6 *const v6 = (const struct sockaddr_in6 *)from;

    *out = (struct io_addr) { 0 };
    if (from->ss_family == AF_INET) {
        out->family = IO_FAMILY_IPV4;
        out->port = ntohs(v4->sin_port);
        memcpy(out->ip, &v4->sin_addr, 4);
        return STATUS(OK);
    }
    if (from->ss_family != AF_INET6)
        return STATUS(INVALID);
    out->port = ntohs(v6->sin6_port);
    if (IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        out->family = IO_FAMILY_IPV4;
        memcpy(out->ip, &v6->sin6_addr.s6_addr[12], 4);
        return STATUS(OK);
    }
    out->family = IO_FAMILY_IPV6;
    out->scope_id = v6->sin6_scope_id;
    memcpy(out->ip, &v6->sin6_addr, 16);
    return STATUS(OK);
}

int uring_socket(const struct io_addr *addr)
{
    const int family = addr->family == IO_FAMILY_IPV4 ? AF_INET : AF_INET6;
    const int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 ? fd : -errno;
}

void uring_socket_no_delay(int fd)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* A help, not a need. */
}

struct status uring_peer_addr(struct reactor *r, int fd, struct io_addr *out_addr)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t bytes = sizeof sa;

    (void)r;
    if (getpeername(fd, (struct sockaddr *)&sa, &bytes) != 0)
        return status_from_errno(errno);
    return addr_from_sockaddr(&sa, out_addr);
}

struct status uring_local_addr(struct reactor *r, int fd, struct io_addr *out_addr)
{
    struct sockaddr_storage sa = { 0 };
    socklen_t bytes = sizeof sa;

    (void)r;
    if (getsockname(fd, (struct sockaddr *)&sa, &bytes) != 0)
        return status_from_errno(errno);
    return addr_from_sockaddr(&sa, out_addr);
}

static struct status MUST_CHECK socket_bind(int fd, const struct io_addr *on)
{
    const int yes = 1;
    const int no = 0;
    struct sockaddr_storage sa;
    const socklen_t bytes = uring_addr_to_sockaddr(on, &sa);

    /* A restarted server gets its port back while old connections linger in TIME_WAIT. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0)
        return status_from_errno(errno);
    /* Listening on :: serves IPv4 too. */
    if (on->family == IO_FAMILY_IPV6 &&
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, io_addr_is_any(on) ? &no : &yes, sizeof no) != 0)
        return status_from_errno(errno);
    if (bind(fd, (const struct sockaddr *)&sa, bytes) != 0)
        return status_from_errno(errno);
    if (listen(fd, LISTEN_BACKLOG) != 0)
        return status_from_errno(errno);
    return STATUS(OK);
}

struct status uring_listen(struct reactor *r, const struct io_addr *on, int *out_fd,
                           struct io_addr *out_bound)
{
    const int fd = uring_socket(on);
    if (fd < 0)
        return status_from_errno(-fd);

    struct status st = socket_bind(fd, on);
    if (status_ok(st))
        st = uring_local_addr(r, fd, out_bound);
    if (!status_ok(st)) {
        close(fd);
        return st;
    }
    /* Not registered: the port is free as soon as it is closed. */
    *out_fd = fd;
    return STATUS(OK);
}
