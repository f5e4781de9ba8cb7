/* SPDX-License-Identifier: Apache-2.0 */
#include "io/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

/* A decimal number from 0 to max, without sign or blanks. */
static struct status MUST_CHECK number_parse(const char *text, uint32_t max, uint32_t *out_value)
{
    uint64_t value = 0;
    size_t digits = 0;

    for (; text[digits] >= '0' && text[digits] <= '9'; digits++) {
        value = value * 10 + (uint64_t)(text[digits] - '0');
        if (value > max)
            return STATUS(INVALID);
    }
    if (digits == 0 || text[digits] != '\0')
        return STATUS(INVALID);
    *out_value = (uint32_t)value;
    return STATUS(OK);
}

static struct status MUST_CHECK port_parse(const char *text, uint16_t *out_port)
{
    uint32_t port;
    TRY(number_parse(text, UINT16_MAX, &port));
    *out_port = (uint16_t)port;
    return STATUS(OK);
}

/* An interface, as a number or by its name. */
static struct status MUST_CHECK scope_parse(const char *text, uint32_t *out_scope)
{
    if (status_ok(number_parse(text, UINT32_MAX, out_scope)))
        return STATUS(OK);
    const unsigned index = if_nametoindex(text);
    if (index == 0)
        return STATUS(INVALID);
    *out_scope = index;
    return STATUS(OK);
}

/* Parses the IP alone; ip may be changed. */
static struct status MUST_CHECK ip_parse(char *ip, struct io_addr *addr)
{
    if (inet_pton(AF_INET, ip, addr->ip) == 1) {
        addr->family = IO_FAMILY_IPV4;
        return STATUS(OK);
    }
    char *const percent = strchr(ip, '%');
    if (percent != NULL) {
        *percent = '\0';
        TRY(scope_parse(percent + 1, &addr->scope_id));
    }
    if (inet_pton(AF_INET6, ip, addr->ip) != 1)
        return STATUS(INVALID);
    addr->family = IO_FAMILY_IPV6;
    return STATUS(OK);
}

/*
 * Splits buf into the IP and the text of the port, NULL if there is none.  Brackets stand for an
 * IPv6 address; without them a single colon precedes a port, and more than one mean IPv6.
 */
static struct status MUST_CHECK addr_split(char *buf, char **out_ip, char **out_port)
{
    char *rest;

    *out_ip = buf;
    if (buf[0] == '[') {
        *out_ip = buf + 1;
        rest = strchr(buf, ']');
        if (rest == NULL || strchr(*out_ip, ':') == NULL)
            return STATUS(INVALID);
        *rest++ = '\0';
        if (*rest != '\0' && *rest != ':')
            return STATUS(INVALID);
    } else {
        rest = strchr(buf, ':');
        if (rest == NULL || strchr(rest + 1, ':') != NULL)
            rest = buf + strlen(buf);
    }
    *out_port = *rest == ':' ? rest + 1 : NULL;
    *rest = '\0';
    return STATUS(OK);
}

struct status io_addr_parse(const char *text, uint16_t default_port, struct io_addr *out_addr)
{
    char buf[IO_ADDR_TEXT_BYTES];
    char *ip;
    char *port;
    struct io_addr addr = { .port = default_port };

    if (strlen(text) >= sizeof buf)
        return STATUS(INVALID);
    memcpy(buf, text, strlen(text) + 1);
    TRY(addr_split(buf, &ip, &port));
    TRY(ip_parse(ip, &addr));
    if (port != NULL)
        TRY(port_parse(port, &addr.port));
    *out_addr = addr;
    return STATUS(OK);
}

struct io_addr_text io_addr_format_ip(const struct io_addr *addr)
{
    struct io_addr_text text;
    char ip[INET6_ADDRSTRLEN] = "?";

    inet_ntop(addr->family == IO_FAMILY_IPV6 ? AF_INET6 : AF_INET, addr->ip, ip, sizeof ip);
    if (addr->scope_id == 0)
        snprintf(text.s, sizeof text.s, "%s", ip);
    else
        snprintf(text.s, sizeof text.s, "%s%%%u", ip, addr->scope_id);
    return text;
}

struct io_addr_text io_addr_format(const struct io_addr *addr)
{
    const struct io_addr_text ip = io_addr_format_ip(addr);
    struct io_addr_text text;

    /* The longest IPv6 address, 45 characters, a scope of 11 and the port leave room. */
    const char *const format = addr->family == IO_FAMILY_IPV6 ? "[%.55s]:%u" : "%.55s:%u";
    snprintf(text.s, sizeof text.s, format, ip.s, (unsigned)addr->port);
    return text;
}

bool io_addr_equal(const struct io_addr *a, const struct io_addr *b)
{
    return a->family == b->family && a->port == b->port && a->scope_id == b->scope_id &&
           memcmp(a->ip, b->ip, a->family == IO_FAMILY_IPV6 ? 16 : 4) == 0;
}

bool io_addr_is_any(const struct io_addr *addr)
{
    static const uint8_t zeros[16];
    return memcmp(addr->ip, zeros, addr->family == IO_FAMILY_IPV6 ? 16 : 4) == 0;
}
