/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_options.h"

#include <stdlib.h>
#include <string.h>

#include "cmd/cli.h"
#include "cmd/command.h"
#include "ctl/ctl.h"
#include "io/uring.h"
#include "nvme/nqn.h"

enum {
    OPT_DATA = 256,
    OPT_DISKS,
    OPT_DISK_SIZE,
    OPT_DISK,
    OPT_LISTEN,
    OPT_ADVERTISE,
    OPT_PORT,
    OPT_API,
    OPT_REACTORS,
    OPT_SPIN,
    OPT_IO_FEATURES,
    OPT_BUFFERS,
    OPT_CHECKSUM_MEMORY,
    OPT_FORCE,
    OPT_LOG_LEVEL,
    OPT_NODES,
    OPT_ZONES,
    OPT_ROLES,
    OPT_ZONE,
    OPT_RACK,
    OPT_NAME,
    OPT_CONTROLLER,
    OPT_TOKEN,
    OPT_CONFIG,
    OPT_REPLICA_TIMEOUT,
    OPT_RESYNC_RATE,
    OPT_REBUILD_AFTER,
    OPT_ATOMIC_SIZE,
};

/* Of a node, in whichever process it runs; other nodes find it at found_at unless it is told. */
#define OPTIONS_OF_A_NODE(found_at)                                                         \
    { "data", OPT_DATA, "DIR", "where everything is kept; made if it is not there" },       \
        { "disks", OPT_DISKS, "N", "how many files under DIR are disks (3)" },              \
        { "disk-size", OPT_DISK_SIZE, "SIZE",                                               \
          "size of each of them (10G); they take space as needed" },                        \
        { "disk", OPT_DISK, "PATH",                                                         \
          "use this file, partition or device instead; may be\n"                            \
          "repeated; mem:SIZE is memory, fault:... misbehaves" },                           \
        { "listen", OPT_LISTEN, "ADDR", "address for hosts (0.0.0.0)" },                    \
        { "advertise", OPT_ADVERTISE, "ADDR",                                               \
          "address that other nodes use (that of --listen; of\n"                            \
          "0.0.0.0, " found_at ")\n"                                                        \
          "and discovery reports (the one that the host has used)" },                       \
        { "port", OPT_PORT, "PORT", "NVMe/TCP port (4420); 0 takes a free one" },           \
        { "reactors", OPT_REACTORS, "N", "threads for I/O (one per CPU)" },                 \
        CLI_OPTION_SPIN(OPT_SPIN), CLI_OPTION_IO_FEATURES(OPT_IO_FEATURES),                 \
        { "buffers", OPT_BUFFERS, "SIZE", "memory for data in flight, per reactor (64M)" }, \
        { "checksum-memory", OPT_CHECKSUM_MEMORY, "all|SIZE",                               \
          "memory for the checksums of each disk (all); where\n"                            \
          "it is short, they are read as they are needed" },                                \
        { "atomic-size", OPT_ATOMIC_SIZE, "SIZE",                                           \
          "what a disk that is formatted writes whole also when\n"                          \
          "the power fails, 512 to 1M (what the device reports)" },                         \
        { "roles", OPT_ROLES, "LIST",                                                       \
          "store, target, or both (store,target): its disks take\n"                         \
          "replicas, hosts connect to it" },                                                \
        { "zone", OPT_ZONE, "NAME", "what it fails together with, such as room-7" },        \
        { "rack", OPT_RACK, "NAME", "the same, within its zone" },                          \
        { "replica-timeout", OPT_REPLICA_TIMEOUT, "MS",                                     \
          "how long a replica may leave writes without an answer\n"                         \
          "before the others go on without it (1000)" },                                    \
        { "resync-rate", OPT_RESYNC_RATE, "off|SIZE",                                       \
          "how much of a node's volumes is compared and copied per\n"                       \
          "second to bring replicas up to date (128M); off: no limit" },                    \
        { "force", OPT_FORCE, NULL,                                                         \
          "format disks that hold something else; what they\n"                              \
          "hold is lost" },                                                                 \
    {                                                                                       \
        "log-level", OPT_LOG_LEVEL, "LEVEL", "error, warning, info (default) or debug"      \
    }

static const struct cli_option up_option_table[] = {
    OPTIONS_OF_A_NODE("127.0.0.1"),
    { "api", OPT_API, "ADDR:PORT", "address of the API (127.0.0.1:7420)" },
    { "nodes", OPT_NODES, "N",
      "run so many nodes, each in a process of its own,\n"
      "with ports from --port on" },
    { "zones", OPT_ZONES, "N", "with --nodes: let them take turns in so many zones" },
    { "rebuild-after", OPT_REBUILD_AFTER, "DURATION",
      "when a disk or node has been away for so long (10m),\n"
      "its replicas are made anew, and its volumes served,\n"
      "elsewhere; such as 90s or 2h; 0: at once, off: never" },
};

static const struct cli_option node_option_table[] = {
    { "config", OPT_CONFIG, "FILE", "take options from it, one a line, without the dashes" },
    { "name", OPT_NAME, "NAME", "what the cluster calls it, such as node-2" },
    { "controller", OPT_CONTROLLER, "ADDR:PORT", "address of the API that it joins through" },
    { "token", OPT_TOKEN, "FILE", "a copy of the controller's DIR/token (DIR/token)" },
    OPTIONS_OF_A_NODE("the one from which the controller is reached"),
};

static const struct cli_syntax up_syntax = {
    .command = "trilith up",
    .operands = "--data DIR [OPTIONS]",
    .about = "Runs a controller and a node in one process: a whole cluster on this machine.\n"
             "It ends in order at SIGTERM or SIGINT, and survives being killed at any time.",
    .options = up_option_table,
    .option_count = ARRAY_COUNT(up_option_table),
};

static const struct cli_syntax node_syntax = {
    .command = "trilith node run",
    .operands = "--name NAME --controller ADDR:PORT --data DIR [OPTIONS]",
    .about =
        "Runs a node of a cluster whose controller runs elsewhere; what it keeps is in DIR/NAME.\n"
        "It ends in order at SIGTERM or SIGINT, and survives being killed at any time.",
    .options = node_option_table,
    .option_count = ARRAY_COUNT(node_option_table),
};

struct up_parse {
    struct cli_args args;
    struct up_options *o;
    uint64_t port;
    const char *listen;
    const char *advertise;
    const char *api;
    const char *controller;
};

/* A size, of at least so much, or a word that stands for 0. */
static bool parse_size_or(struct up_parse *p, const char *option, const char *word, uint64_t least,
                          uint64_t *out_bytes)
{
    *out_bytes = 0;
    if (strcmp(p->args.value, word) == 0)
        return true;
    if (!cli_size(&p->args, option, out_bytes))
        return false;
    if (*out_bytes >= least)
        return true;
    (void)cli_usage(&p->args, "--%s is '%s', or at least %lluM", option, word,
                    (unsigned long long)(least >> 20));
    return false;
}

static bool parse_log_level(struct up_parse *p)
{
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
        if (strcmp(p->args.value, log_level_name((enum log_level)level)) == 0) {
            p->o->log_level = (enum log_level)level;
            return true;
        }
    }
    (void)cli_usage(&p->args, "--log-level is error, warning, info or debug, not '%s'",
                    p->args.value);
    return false;
}

/* A number and s, m or h; a dead disk is not waited for, whatever it is, unless it is off. */
static bool parse_rebuild_after(struct up_parse *p)
{
    static const struct {
        char unit;
        uint64_t seconds;
    } units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 } };
    const char *const text = p->args.value;
    char *end;

    if (strcmp(text, "off") == 0 || strcmp(text, "0") == 0) {
        p->o->rebuild_after_ns = text[0] == '0' ? 0 : CTL_REBUILD_NEVER;
        return true;
    }
    const unsigned long number = text[0] >= '0' && text[0] <= '9' ? strtoul(text, &end, 10) : 0;
    for (size_t i = 0; i < ARRAY_COUNT(units) && number > 0 && number <= 1000000; i++) {
        if (end[0] != units[i].unit || end[1] != '\0')
            continue;
        p->o->rebuild_after_ns = number * units[i].seconds * NS_PER_S;
        return true;
    }
    (void)cli_usage(
        &p->args, "--rebuild-after is a time such as 90s, 10m or 2h, or 0, or off, not '%s'", text);
    return false;
}

static bool parse_disk(struct up_parse *p)
{
    if (p->o->given_count == NODE_DISKS_MAX) {
        (void)cli_usage(&p->args, "a node has at most %u disks", NODE_DISKS_MAX);
        return false;
    }
    p->o->disks[p->o->given_count++] = p->args.value;
    return true;
}

static bool parse_count(struct up_parse *p, const char *name, unsigned max, unsigned *out_count)
{
    uint64_t count;

    if (!cli_number(&p->args, name, 1, max, &count))
        return false;
    *out_count = (unsigned)count;
    return true;
}

static bool parse_roles(struct up_parse *p)
{
    static const struct {
        const char *text;
        uint32_t roles;
    } lists[] = {
        { "store", 1u << NODE_ROLE_STORE },
        { "target", 1u << NODE_ROLE_TARGET },
        { "store,target", NODE_ROLES_ALL },
        { "target,store", NODE_ROLES_ALL },
    };

    for (size_t i = 0; i < ARRAY_COUNT(lists); i++) {
        if (strcmp(p->args.value, lists[i].text) != 0)
            continue;
        p->o->roles = lists[i].roles;
        return true;
    }
    (void)cli_usage(&p->args, "--roles is store, target, or store,target, not '%s'", p->args.value);
    return false;
}

static bool parse_label(struct up_parse *p, const char *option, const char **out_label)
{
    if (!volume_name_is_valid(p->args.value)) {
        (void)cli_usage(&p->args, "--%s '%s': a label has %s", option, p->args.value,
                        VOLUME_NAME_RULE);
        return false;
    }
    *out_label = p->args.value;
    return true;
}

static bool parse_atomic_size(struct up_parse *p)
{
    uint64_t bytes;

    if (!cli_size(&p->args, "atomic-size", &bytes))
        return false;
    if (bytes < 512 || bytes > (1 << 20) || (bytes & (bytes - 1)) != 0) {
        (void)cli_usage(&p->args, "--atomic-size is a power of two from 512 to 1M");
        return false;
    }
    p->o->atomic_bytes = (uint32_t)bytes;
    return true;
}

static bool parse_replica_timeout(struct up_parse *p)
{
    uint64_t ms;

    if (!cli_number(&p->args, "replica-timeout", UP_REPLICA_TIMEOUT_MS_MIN,
                    UP_REPLICA_TIMEOUT_MS_MAX, &ms))
        return false;
    p->o->replica_timeout_ns = ms * NS_PER_MS;
    return true;
}

/* Of `up` alone, or of `node run` alone. */
static bool parse_own_option(struct up_parse *p, int id)
{
    struct up_options *o = p->o;

    switch (id) {
    case OPT_API:
        p->api = p->args.value;
        return true;
    case OPT_REBUILD_AFTER:
        return parse_rebuild_after(p);
    case OPT_NODES:
        return parse_count(p, "nodes", UP_NODES_MAX, &o->nodes);
    case OPT_ZONES:
        return parse_count(p, "zones", UP_NODES_MAX, &o->zones);
    case OPT_NAME:
        o->name = p->args.value;
        return true;
    case OPT_CONTROLLER:
        p->controller = p->args.value;
        return true;
    case OPT_TOKEN:
        o->token_path = p->args.value;
        return true;
    case OPT_CONFIG: /* The first one on the command line was read: up_config.h. */
        (void)cli_usage(&p->args, "--config '%s': there is one file, and it names no other",
                        p->args.value);
        return false;
    default:
        return false; /* CLI_EXIT: cli_next() has said why. */
    }
}

static bool parse_option(struct up_parse *p, int id)
{
    struct up_options *o = p->o;

    switch (id) {
    case OPT_DATA:
        o->data = p->args.value;
        return true;
    case OPT_DISKS:
        o->disks_chosen = true;
        return parse_count(p, "disks", NODE_DISKS_MAX, &o->disk_count);
    case OPT_DISK_SIZE:
        o->disks_chosen = true;
        return cli_size(&p->args, "disk-size", &o->disk_bytes);
    case OPT_DISK:
        return parse_disk(p);
    case OPT_LISTEN:
        p->listen = p->args.value;
        return true;
    case OPT_ADVERTISE:
        p->advertise = p->args.value;
        return true;
    case OPT_PORT:
        return cli_number(&p->args, "port", 0, UINT16_MAX, &p->port);
    case OPT_REACTORS:
        return parse_count(p, "reactors", NODE_REACTORS_MAX, &o->reactors);
    case OPT_SPIN:
        return cli_spin(&p->args, &o->spin_ns);
    case OPT_IO_FEATURES:
        return cli_io_features(&p->args, &o->io_features_mask);
    case OPT_BUFFERS:
        return cli_size(&p->args, "buffers", &o->buffer_bytes);
    case OPT_CHECKSUM_MEMORY:
        return parse_size_or(p, "checksum-memory", "all", NODE_CHECKSUM_BYTES_MIN,
                             &o->checksum_bytes);
    case OPT_ATOMIC_SIZE:
        return parse_atomic_size(p);
    case OPT_REPLICA_TIMEOUT:
        return parse_replica_timeout(p);
    case OPT_RESYNC_RATE:
        return parse_size_or(p, "resync-rate", "off", UP_RESYNC_BYTES_PER_S_MIN,
                             &o->resync_bytes_per_s);
    case OPT_FORCE:
        o->force = true;
        return true;
    case OPT_LOG_LEVEL:
        return parse_log_level(p);
    case OPT_ROLES:
        return parse_roles(p);
    case OPT_ZONE:
        return parse_label(p, "zone", &o->zone);
    case OPT_RACK:
        return parse_label(p, "rack", &o->rack);
    default:
        return parse_own_option(p, id);
    }
}

static bool parse_addr(struct up_parse *p, const char *option, const char *text, uint16_t port,
                       struct io_addr *out_addr)
{
    if (status_ok(io_addr_parse(text, port, out_addr)))
        return true;
    (void)cli_usage(&p->args, "--%s is an IP address, such as 192.0.2.1 or ::1, not '%s'", option,
                    text);
    return false;
}

/* Nodes that take turns in zones are several, and have none of their own. */
static bool check_zones(struct up_parse *p)
{
    if (p->o->zones == 0 || (p->o->nodes > 0 && p->o->zone == NULL))
        return true;
    (void)cli_usage(&p->args, p->o->nodes == 0
                                  ? "--zones is for --nodes; --zone is that of this node"
                                  : "either --zones, or --zone for all of them");
    return false;
}

/* What a node without disks cannot be given. */
static bool check_roles(struct up_parse *p)
{
    struct up_options *o = p->o;

    if ((o->roles & 1u << NODE_ROLE_STORE) != 0)
        return true;
    if (o->given_count > 0 || o->disks_chosen) {
        (void)cli_usage(&p->args, "--roles target: a node that does not store has no disks");
        return false;
    }
    o->disk_count = 0;
    return true;
}

/* What one option alone cannot tell. */
static bool check(struct up_parse *p)
{
    struct up_options *o = p->o;

    if (!check_zones(p) || !check_roles(p))
        return false;

    if (o->data == NULL || o->data[0] == '\0') {
        (void)cli_usage(&p->args, "--data DIR is missing: where shall everything be kept?");
        return false;
    }
    if (o->nodes > 0 && o->given_count > 0) {
        (void)cli_usage(&p->args,
                        "--disk names the disks of one node; with --nodes each has files");
        return false;
    }
    if (o->given_count > 0 && o->disks_chosen) {
        (void)cli_usage(&p->args, "either --disk, or --disks and --disk-size");
        return false;
    }
    if (o->disk_bytes < UP_DISK_BYTES_MIN || o->disk_bytes % (1 << 20) != 0) {
        (void)cli_usage(&p->args, "--disk-size is a multiple of 1M, and at least 16M");
        return false;
    }
    if (o->buffer_bytes < (8 << 20)) {
        (void)cli_usage(&p->args, "--buffers is at least 8M");
        return false;
    }
    if (o->given_count > 0)
        o->disk_count = 0;
    if (!parse_addr(p, "listen", p->listen, (uint16_t)p->port, &o->listen) ||
        !parse_addr(p, "api", p->api, UP_PORT_API, &o->api))
        return false;
    o->has_advertise = p->advertise != NULL;
    return !o->has_advertise ||
           parse_addr(p, "advertise", p->advertise, (uint16_t)p->port, &o->advertise);
}

/* What `trilith node run` must have. */
static bool check_node(struct up_parse *p)
{
    if (p->o->name == NULL || !volume_name_is_valid(p->o->name)) {
        (void)cli_usage(&p->args, "--name NAME is missing, such as node-2: a name has %s",
                        VOLUME_NAME_RULE);
        return false;
    }
    if (p->controller == NULL) {
        (void)cli_usage(&p->args, "--controller ADDR:PORT is missing: where is the API?");
        return false;
    }
    return parse_addr(p, "controller", p->controller, UP_PORT_API, &p->o->control);
}

static bool parse_all(const struct cli_syntax *syntax, int argc, char **argv,
                      struct up_options *out_options, int *out_exit)
{
    struct up_parse p = {
        .o = out_options,
        .port = UP_PORT_NVME,
        .listen = "0.0.0.0",
        .api = "127.0.0.1",
    };
    bool good = true;
    int id;

    *out_options = (struct up_options) {
        .disk_count = UP_DISKS_DEFAULT,
        .disk_bytes = UP_DISK_BYTES,
        .roles = NODE_ROLES_ALL,
        .spin_ns = URING_SPIN_AUTO,
        .buffer_bytes = (uint64_t)64 << 20,
        .resync_bytes_per_s = UP_RESYNC_BYTES_PER_S,
        .rebuild_after_ns = UP_REBUILD_AFTER_NS,
        .log_level = LOG_LEVEL_INFO,
    };
    cli_begin(&p.args, syntax, argc, argv);
    while (good && (id = cli_next(&p.args)) != CLI_END)
        good = parse_option(&p, id);
    good = good && check(&p) && (syntax == &up_syntax || check_node(&p));
    *out_exit = p.args.exit_status;
    return good;
}

bool up_options_parse(int argc, char **argv, struct up_options *out_options, int *out_exit)
{
    return parse_all(&up_syntax, argc, argv, out_options, out_exit);
}

bool up_options_parse_node(int argc, char **argv, struct up_options *out_options, int *out_exit)
{
    return parse_all(&node_syntax, argc, argv, out_options, out_exit);
}

/* ---- Whole names ---- */

/* A whole name, and what is around it. */
#define SPELL_MORE 64

static const char *name_of(const struct cli_syntax *syntax, int id)
{
    unsigned i = 0;

    while (syntax->options[i].id != id)
        i++;
    return syntax->options[i].name;
}

static bool is_among(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

char **up_options_spell(const struct up_options *options, int argc, char **argv,
                        const char *const *without)
{
    const struct cli_syntax *const syntax = options->name != NULL ? &node_syntax : &up_syntax;
    const size_t pointer_bytes = (size_t)(argc + 1) * sizeof(char *);
    size_t bytes = pointer_bytes;
    unsigned count = 0;
    struct cli_args args;
    int id;

    for (int i = 0; i < argc; i++)
        bytes += strlen(argv[i]) + SPELL_MORE;
    char **out = calloc(1, bytes);
    if (out == NULL)
        return NULL;
    char *at = (char *)out + pointer_bytes;
    cli_begin(&args, syntax, argc, argv);
    while ((id = cli_next(&args)) != CLI_END && id != CLI_EXIT) {
        const char *const name = name_of(syntax, id);
        if (is_among(name, without))
            continue;
        out[count++] = at;
        at += snprintf(at, (size_t)((char *)out + bytes - at), "--%s%s%s", name,
                       args.value != NULL ? "=" : "", args.value != NULL ? args.value : "");
        at++;
    }
    return out;
}
