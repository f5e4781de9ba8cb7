/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the target keeps on its home reactor.  Only the target's files include this.
 *
 *   target -+- ports
 *           +- subsystems -+- controllers -+- queues (connections)
 *           |              |               +- asynchronous event requests
 *           +- connections, all of them    (a new one is in no controller yet)
 *           +- Connects that wait until their host's predecessor has gone (W3)
 *
 * Threading: all of it belongs to the home reactor, but for what says otherwise.
 * Memory:    subsystems, controllers and connections are allocated as they come, within limits.h.
 */
#ifndef NVME_TARGET_INTERNAL_H
#define NVME_TARGET_INTERNAL_H

#include <stdlib.h>

#include "nvme/conn.h"
#include "nvme/target.h"

#define NVME_TARGET_NSID     1 /* A volume's only namespace. */
#define NVME_TARGET_FIRMWARE "0.1"
#define NVME_TARGET_MODEL    "Trilith"

struct nvme_port {
    struct nvme_target *target;
    uint16_t id;
    int fd;
    struct io_op accept;
    struct io_timer retry; /* After an accept that failed for want of something. */
    struct io_addr bound;
    struct io_addr advertise;
    bool has_advertise;
};

struct nvme_target {
    struct reactor *home;
    struct nvme_shard *shards;
    unsigned shard_count;
    unsigned next_shard;
    unsigned node_index;
    size_t quota_bytes;                          /* Read by all shards; never changes. */
    bool (*expects)(void *ctx, const char *nqn); /* Of the configuration. */
    void *expects_ctx;

    struct nvme_port ports[NVME_PORTS_MAX];
    unsigned port_count;
    struct list subsystems;
    struct nvme_subsys *discovery; /* Not in that list. */
    struct list conns;
    unsigned conn_count;
    unsigned connections_max;
    struct list half_open;     /* Those that have not asked for a queue, the oldest first. */
    uint64_t crowded_until_ns; /* Until then, that some of these made room is not logged again. */
    struct list peers;         /* Those that have queues. */
    unsigned queues;           /* Of all of them, ... */
    unsigned commands;         /* ... and the entries of these. */
    unsigned commands_max;
    struct list connects; /* struct nvme_cmd */
    uint64_t generation;  /* Of the discovery log: GENCTR. */
    unsigned next_cntlid; /* Offset in this node's range. */

    bool stopping;
    struct io_task stop_task;
    struct io_task stopped_task;
    void (*stopped)(void *ctx);
    void *stopped_ctx;
};

/* What one address has; see share.c. */
struct nvme_peer {
    struct list_node link; /* In target->peers. */
    struct io_addr addr;
    unsigned queues;
    unsigned entries;
};

/* What the target has on its home reactor, the first of the configuration. */
static inline struct nvme_shard *target_home_shard(const struct nvme_target *target)
{
    return &target->shards[0];
}

/* What SMART counts. */
struct nvme_totals {
    uint64_t reads, writes, bytes_read, bytes_written, media_errors, busy_ns;
};

struct nvme_subsys {
    struct list_node link;
    struct nvme_target *target;
    struct nqn_text nqn;
    char serial[21];
    char model[41];
    struct nvme_ns *ns;         /* A volume's; NULL in other subsystems. */
    struct nvme_vendor *vendor; /* Of one without namespaces; NULL in others. */
    struct nqn_text *hosts;
    unsigned host_count;
    void (*hosts_changed)(void *ctx); /* Of the configuration. */
    void *hosts_ctx;
    struct list ctrls;
    struct nvme_totals totals; /* Of queues that have gone. */
    uint64_t since_ns;         /* When it was added. */
    bool removing;
    struct io_task removed_task;
    void (*removed)(void *ctx);
    void *removed_ctx;

    /* For all shards: fixed, and a size that may change. */
    unsigned lba_shift;
    _Atomic uint64_t blocks;
};

/* What a subsystem is: of a volume, of a vendor's commands, or the discovery service. */
static inline bool subsys_is_volume(const struct nvme_subsys *subsys)
{
    return subsys->ns != NULL;
}

static inline bool subsys_is_vendor(const struct nvme_subsys *subsys)
{
    return subsys->vendor != NULL;
}

static inline bool subsys_is_discovery(const struct nvme_subsys *subsys)
{
    return subsys->ns == NULL && subsys->vendor == NULL;
}

/* ---- Controllers ---- */

/* How far a shutdown has come: what is awaited. */
enum nvme_shutdown {
    SHUTDOWN_NONE,
    SHUTDOWN_DRAINING, /* For the I/O queues. */
    SHUTDOWN_FLUSHING, /* For the namespace. */
    SHUTDOWN_COMPLETE,
};

/* A command that failed, for the error log. */
struct nvme_error {
    uint16_t sqid, cid, status;
    uint32_t nsid;
    uint64_t lba;
    uint64_t result;
};

struct nvme_ctrl {
    struct list_node link; /* In subsys->ctrls. */
    struct nvme_subsys *subsys;
    struct nvme_port *port;
    const struct nvme_peer *peer; /* Of the admin queue: it lasts as long as that does. */
    struct nqn_text host_nqn;
    uint8_t host_id[16];
    void *association; /* See vendor.h. */
    uint16_t cntlid;
    struct list queues;     /* Connections, the admin queue too. */
    unsigned io_queues;     /* Of these. */
    unsigned io_queues_max; /* As granted by Set Features. */
    bool dying;

    uint32_t cc;
    enum nvme_shutdown shutdown;
    struct nvme_ns_req shutdown_flush; /* In flight in SHUTDOWN_FLUSHING. */
    uint32_t kato_ms;
    struct io_timer kato_timer;
    struct io_timer loss_timer; /* Since an I/O queue was lost. */
    bool kato_grace; /* The timeout has passed once: late input may still be on its way. */

    struct nvme_cmd *events[NVME_ASYNC_EVENTS_MAX]; /* Requests that wait. */
    unsigned event_count;
    unsigned aborts;        /* Under way. */
    uint32_t event_config;  /* NVME_AEN_* that the host wants. */
    uint32_t event_pending; /* Happened, and not reported yet. */
    uint32_t event_masked;  /* Reported, and the log page not read since. */
    bool ns_changed;        /* For the Changed Namespace List log. */

    uint8_t host_behavior[NVME_HOST_BEHAVIOR_BYTES];
    uint64_t timestamp_ms; /* As it was set, ... */
    uint64_t timestamp_ns; /* ... and when. */
    bool timestamp_is_set;
    struct nvme_error errors[NVME_ERROR_ENTRIES]; /* A ring. */
    uint64_t error_count;                         /* All there were. */
};

static inline bool ctrl_is_discovery(const struct nvme_ctrl *ctrl)
{
    return subsys_is_discovery(ctrl->subsys);
}

/* ---- home.c: connections as home sees them, Connect ---- */

/* Home's part of a new connection: the counterpart is home_on_detach(). */
void home_conn_accepted(struct nvme_port *port, int fd);

/* Asks a connection to end.  More than once is harmless. */
void home_conn_kill(struct nvme_conn *conn);

/* Tries the Connects that waited for predecessors again. */
void home_retry_connects(struct nvme_target *target);

/* Calls stopped if a stop is under way and everything has gone. */
void target_check_stopped(struct nvme_target *target);

/* ---- conn_move.c ---- */

/*
 * Answers a Connect that has succeeded on another shard, where the connection goes on.  Until then
 * it is on none for certain.
 */
void home_move(struct nvme_cmd *cmd, struct nvme_shard *to);

/* ---- connect.c ---- */

/* Answers a Connect command, now or when the host's predecessor has gone. */
void home_connect(struct nvme_cmd *cmd);

/* The connection ends: answers its Connect if that waits. */
void home_connect_abandon(struct nvme_conn *conn);

/* ---- share.c ---- */

/* Whether two addresses are one peer's. */
bool share_same_peer(const struct io_addr *a, const struct io_addr *b);

/* Whether the connection's peer may have another queue of so many entries. */
bool share_allows_queue(const struct nvme_conn *conn, unsigned entries);

/* Whether it may have another controller of the subsystem. */
bool share_allows_ctrl(const struct nvme_subsys *subsys, const struct nvme_conn *conn);

/* Counts the queue that the connection becomes; false if there is no memory. */
bool share_take(struct nvme_conn *conn, unsigned entries);
void share_give_back(struct nvme_conn *conn);

/* ---- ctrl.c ---- */

/* NULL if there is no memory, or the subsystem's owner has no association for the host. */
struct nvme_ctrl *ctrl_create(struct nvme_subsys *subsys, uint16_t cntlid,
                              const struct nqn_text *host_nqn);

/* Ends the controller: its queues are asked to end; with the last one it is freed. */
void ctrl_kill(struct nvme_ctrl *ctrl, const char *why);

void ctrl_add_queue(struct nvme_ctrl *ctrl, struct nvme_conn *conn, uint16_t qid);

/* A queue has gone.  Whether its controller has gone with it: home_retry_connects() is next. */
bool ctrl_remove_queue(struct nvme_conn *conn);

/* A queue ends: the admin queue takes its controller with it, an I/O queue does after a while. */
void ctrl_on_queue_closing(struct nvme_conn *conn);

/* Frees a controller that is dying when nothing of it is left: true, and as above. */
bool ctrl_check_gone(struct nvme_ctrl *ctrl);

/* Ends all I/O queues, for a reset or a shutdown. */
void ctrl_kill_io_queues(struct nvme_ctrl *ctrl);

/* Starts the keep-alive timer anew; kato_ms 0 stops it. */
void ctrl_set_kato(struct nvme_ctrl *ctrl, uint32_t kato_ms);
void ctrl_keep_alive(struct nvme_ctrl *ctrl);

/* Executes an admin or fabrics command other than Connect; answers it. */
void ctrl_command(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);

/* ---- What ctrl_command() hands out.  Each returns 0 or a status. ---- */

uint16_t ctrl_property_get(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);
uint16_t ctrl_property_set(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);
uint16_t ctrl_identify(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);
uint16_t ctrl_get_features(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);
uint16_t ctrl_set_features(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);
uint16_t ctrl_get_log_page(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);

/* Goes on with a shutdown when the last I/O queue has gone. */
void ctrl_shutdown_step(struct nvme_ctrl *ctrl);

/* CSTS as a host would read it. */
uint32_t ctrl_csts(const struct nvme_ctrl *ctrl);

/* CC.EN has become 0: what the host has set is as it was at first, and its event requests end. */
void ctrl_reset(struct nvme_ctrl *ctrl);

/* ---- ctrl_health.c ---- */

/* A queue goes: what it has counted is the subsystem's. */
void ctrl_keep_counters(const struct nvme_conn *conn);

/* Notes a command that ends with this status. */
void ctrl_note_error(struct nvme_ctrl *ctrl, const struct nvme_cmd *cmd, uint16_t status);

/* The log pages, to out, which is zeroed; they return their lengths. */
size_t ctrl_write_smart(const struct nvme_ctrl *ctrl, uint8_t *out);
size_t ctrl_write_errors(const struct nvme_ctrl *ctrl, uint8_t *out);

/* ---- conn_abort.c ---- */

/* Executes an Abort command; answers it, now or later. */
void ctrl_abort(struct nvme_ctrl *ctrl, struct nvme_cmd *abort);

/* ---- ctrl_events.c ---- */

/* Keeps or answers an Asynchronous Event Request. */
void ctrl_event_request(struct nvme_ctrl *ctrl, struct nvme_cmd *cmd);

/* Reports an event (one NVME_AEN_* bit) if the host wants it. */
void ctrl_event(struct nvme_ctrl *ctrl, uint32_t event);

/* The log page that belongs to the event was read: it may happen again. */
void ctrl_event_clear(struct nvme_ctrl *ctrl, uint32_t event);

/* Answers all requests that wait. */
void ctrl_events_abort(struct nvme_ctrl *ctrl);

/* Whether a command with this id waits; answers it as aborted. */
bool ctrl_event_abort(struct nvme_ctrl *ctrl, uint16_t cid);

/* ---- discovery.c ---- */

/* The length of the discovery log that this controller's host sees. */
uint64_t discovery_log_bytes(const struct nvme_ctrl *ctrl);

/* Writes the part of it that starts at offset into out, which is zeroed. */
void discovery_log_read(const struct nvme_ctrl *ctrl, const struct nvme_conn *conn, uint64_t offset,
                        struct span out);

/* The log has changed for every host. */
void discovery_changed(struct nvme_target *target);

/* A subsystem comes or goes: hosts that may see it hear of it, and no others. */
void discovery_subsys_changed(const struct nvme_subsys *subsys);

/* Its list of hosts was another one: hosts for which that makes a difference hear of it. */
void discovery_hosts_changed(const struct nvme_subsys *subsys, const struct nqn_text *old_hosts,
                             unsigned old_count);

/* ---- subsys.c ---- */

struct status subsys_create_discovery(struct nvme_target *target) MUST_CHECK;

/* No controller is left.  NULL is allowed. */
void subsys_free(struct nvme_subsys *subsys);

struct nvme_subsys *target_find_subsys(const struct nvme_target *target, const char *nqn);
/* Whether a list of hosts has this one; an empty list has every host. */
bool hosts_allow(const struct nqn_text *hosts, unsigned count, const char *host_nqn);
bool subsys_allows(const struct nvme_subsys *subsys, const char *host_nqn);

/* Frees a subsystem that is being removed when its last controller has gone. */
void subsys_check_removed(struct nvme_subsys *subsys);

/* ---- conn_io.c ---- */

/* The NVMe status, with Do Not Retry where that is so. */
uint16_t nvme_status_of(struct status st);

#endif
