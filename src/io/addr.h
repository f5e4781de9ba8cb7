/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A TCP address: IPv4 or IPv6 with a port.
 *
 * Threading: pure.   Memory: values.
 */
#ifndef IO_ADDR_H
#define IO_ADDR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#define IO_ADDR_TEXT_BYTES 64

enum io_family { IO_FAMILY_IPV4 = 4, IO_FAMILY_IPV6 = 6 };

struct io_addr {
    enum io_family family;
    uint8_t ip[16];    /* Network order; an IPv4 address in the first four bytes. */
    uint32_t scope_id; /* Of a link-local IPv6 address; 0 otherwise. */
    uint16_t port;     /* Host order. */
};

struct io_addr_text {
    char s[IO_ADDR_TEXT_BYTES];
};

/*
 * Parses "192.0.2.1", "192.0.2.1:4420", "::1", "[::1]:4420" and the like.  Names are not
 * resolved.  default_port is taken where the text has none.  INVALID for anything else.
 */
struct status io_addr_parse(const char *text, uint16_t default_port,
                            struct io_addr *out_addr) MUST_CHECK;

/* "192.0.2.1:4420" or "[::1]:4420", by value. */
struct io_addr_text io_addr_format(const struct io_addr *addr);

/* The address without the port, as NVMe's TRADDR wants it: "192.0.2.1" or "::1". */
struct io_addr_text io_addr_format_ip(const struct io_addr *addr);

bool io_addr_equal(const struct io_addr *a, const struct io_addr *b);

/* Whether the IP is 0.0.0.0 or ::. */
bool io_addr_is_any(const struct io_addr *addr);

#endif
