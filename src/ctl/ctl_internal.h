/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the services of the controller share.
 *
 * Threading: as ctl.h.   Memory: as each says.
 */
#ifndef CTL_CTL_INTERNAL_H
#define CTL_CTL_INTERNAL_H

#include "ctl/ctl.h"
#include "ctl/limits.h"
#include "ctl/rebuild.h"
#include "ctl/validate.h"
#include "meta/records.h"
#include "rpc/arena.h"
#include "rpc/decode.h"
#include "trilith/v1/disk.pb-c.h"
#include "trilith/v1/group.pb-c.h"
#include "trilith/v1/node.pb-c.h"
#include "trilith/v1/status.pb-c.h"
#include "trilith/v1/volume.pb-c.h"

#define NS_PER_MS UINT64_C(1000000)

/* ---- Observed state: the last report of each node that has reported since we started. ---- */

struct observed {
    struct list_node link; /* In ctl.observed. */
    struct uuid node;
    uint64_t seen_ns;
    uint64_t instance; /* Of its process that was heard last, and of that the last call; 0: none. */
    uint64_t number;
    char version[CTL_NAME_BYTES_MAX + 1];
    Trilith__V1__ReportStatusRequest *report; /* Owned; NULL: joined, but nothing reported. */
    size_t foreign; /* Disks behind report->n_disks: they count as another node's. */
};

struct observed *observed_find(struct ctl *ctl, struct uuid node);
/* Finds or makes it; NULL above CTL_NODES_MAX. */
struct observed *observed_take(struct ctl *ctl, struct uuid node);
/* Whether the node has reported lately.  NULL is not connected. */
bool observed_connected(struct ctl *ctl, const struct observed *o);
/* What it says of a volume or disk; NULL if nothing. */
const Trilith__V1__VolumeReport *observed_volume(const struct observed *o, struct uuid volume);
const Trilith__V1__DiskReport *observed_disk(const struct observed *o, struct uuid disk);
/* Whether it reports a disk that counts as another node's. */
bool observed_has_foreign(const struct observed *o, struct uuid disk);
/* From now on the disk is one of those. */
void observed_disown(struct observed *o, struct uuid disk);
/* Frees the report. */
void observed_drop_report(struct observed *o);

/* ---- Calls that wait for a volume to be ready, served, grown, or gone. ---- */

enum volume_wait_for {
    VOLUME_WAIT_READY,  /* Or that its node cannot open it. */
    VOLUME_WAIT_SERVED, /* However often its node fails to open it, as long as it reports. */
    VOLUME_WAIT_GROWN,
    VOLUME_WAIT_GONE,
};

struct volume_wait {
    struct rpc_call *call;
    struct list_node link; /* In ctl.waits. */
    struct rpc_timer timer;
    struct ctl *ctl;
    struct uuid volume;
    enum volume_wait_for what;
    char name[64];
    char note[RPC_TEXT_BYTES]; /* A warning, or SERVED: the node before.  Empty: none. */
};

/* A node's request for its part that is held until there is something new. */
struct node_watch {
    struct rpc_call *call;
    struct list_node link; /* In ctl.node_watches. */
    struct rpc_timer timer;
    struct ctl *ctl;
    struct uuid node;
    uint64_t known_revision;
};

struct ctl {
    struct meta *meta;
    struct rpc_loop *loop;
    struct log *log;
    struct uuid cluster;
    char cluster_name[CTL_NAME_BYTES_MAX + 1];
    char version[CTL_NAME_BYTES_MAX + 1];
    char address[CTL_ADDRESS_BYTES_MAX + 16];
    struct list observed;
    struct list waits;
    struct list node_watches;
    struct list order_waits;   /* disk_orders.c */
    struct list verifications; /* verify_service.c */
    struct list scrubs;        /* scrub.c */
    struct meta_watch desired_watch;
    struct rpc_timer lease_timer;
    struct rebuild rebuild;
    bool untold;            /* node_tell.c */
    uint64_t group_changes; /* That engines have committed since we started; and in how many */
    uint64_t group_commits; /* transactions. */
    struct rpc_service services[CTL_SERVICE_COUNT];
};

extern const struct rpc_method volume_methods[];
extern const struct rpc_method disk_methods[];
extern const struct rpc_method node_methods[];
extern const struct rpc_method status_methods[];
extern const struct rpc_method group_methods[];

/* Fails the call with the status's code and "what: the status's text". */
void ctl_fail(struct rpc_call *call, struct status st, const char *what);

/* ---- Records ---- */

/* Volumes, disks or nodes in the order of their keys; freed by records_free(). */
struct records {
    ProtobufCMessage **items;
    uint64_t *revisions;
    size_t count;
    size_t room;
};

struct status records_read(struct ctl *ctl, const char *prefix,
                           const ProtobufCMessageDescriptor *type,
                           struct records *out_records) MUST_CHECK;
void records_free(struct records *records);

/* What a node is for: bits, never none. */
#define ROLE_STORE  (1u << TRILITH__V1__NODE_ROLE__NODE_ROLE_STORE)
#define ROLE_TARGET (1u << TRILITH__V1__NODE_ROLE__NODE_ROLE_TARGET)
uint32_t node_roles(const Stored__V1__Node *record);
struct status node_roles_read(struct ctl *ctl, struct uuid node, uint32_t *out_roles) MUST_CHECK;

/* Its name, or its UUID if that cannot be read. */
const char *node_name_read(struct ctl *ctl, struct uuid node, struct arena *arena);

/* The UUID in a record that we wrote; nil if it has none. */
struct uuid field_uuid(ProtobufCBinaryData field);

/* Puts the node's desired record, so that its part has a new revision. */
struct status desired_bump(struct meta *m, struct meta_txn *txn, struct uuid node) MUST_CHECK;

/* The same with a change of what is in it; what change() adds lives until it was put. */
struct status desired_change(struct meta *m, struct meta_txn *txn, struct uuid node,
                             struct status (*change)(void *ctx, Stored__V1__Desired *desired),
                             void *ctx) MUST_CHECK;

/* Only compares it: the transaction rests on what the node is to have. */
struct status desired_expect(struct meta *m, struct meta_txn *txn, struct uuid node) MUST_CHECK;

/* The node's record; *out_record is NULL where there is none yet. */
struct status desired_read(struct ctl *ctl, struct uuid node,
                           Stored__V1__Desired **out_record) MUST_CHECK;

/* What is planned on the disk of one of the record's shards. */
uint64_t volume_planned_bytes(const Stored__V1__Volume *record, uint32_t shard);

/* A volume by its name, NQN or UUID.  NOT_FOUND. */
struct status volume_find(struct ctl *ctl, const char *name, Stored__V1__Volume **out_volume,
                          uint64_t *out_revision) MUST_CHECK;

/* Fails the call: the volume of this name could not be found. */
void volume_fail_find(struct rpc_call *call, struct status st, const char *name);

/* ---- Volumes ---- */

/* What a volume is now, for the API; built in the arena. */
Trilith__V1__Volume *volume_view(struct ctl *ctl, const Stored__V1__Volume *record,
                                 struct arena *arena);

/* Keeps the call until the volume is what is waited for, for at most wait_ms; the note goes into
 * its reply. */
void volume_wait_start(struct ctl *ctl, struct rpc_call *call, const Stored__V1__Volume *record,
                       enum volume_wait_for what, uint32_t wait_ms, const char *note);
/* Looks whether waits are over: after every report. */
void volume_waits_check(struct ctl *ctl);
/* Removes the records of a volume whose node has deleted it. */
void volumes_finish_deleting(struct ctl *ctl, const struct observed *o);

/* Disks that have nothing of a volume any more are none of its leftovers: rebuild_forgotten.c. */
void rebuild_take_forgotten(struct ctl *ctl, const struct observed *o);

/* ---- Who is where ---- */

/*
 * Tells all nodes but this one (nil: all) where nodes and disks are now: node_tell.c.  Those that
 * cannot be told are told later.
 */
void nodes_tell(struct ctl *ctl, struct uuid but);
/* The transaction that may have changed it was not answered: tells all nodes later. */
void nodes_tell_later(struct ctl *ctl);
/* Tells those that are to be told later, or could not be told. */
void nodes_tell_again(struct ctl *ctl);

/*
 * Records what a node says of its disks, and which of them are its own: disk_record.c.  before is
 * what it has said until now.  Returns whether a disk is on another node than it was.
 */
bool disks_take_report(struct ctl *ctl, struct observed *o, const struct observed *before);

/* ---- Orders to nodes: disk_orders.c ---- */

void on_add_disk(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);
void on_remove_disk(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);
void on_grow_disk(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);

/* Takes in what the node reports of its orders: they are over. */
void orders_take_results(struct ctl *ctl, const struct observed *o);
void order_waits_end(struct ctl *ctl);

/* Whether it is an order to format what a disk holds for which nobody waits any more. */
bool order_is_void(const struct ctl *ctl, struct uuid node, const Stored__V1__DiskOrder *order);

/* The disks that a node is to give up: they take no shards any more. */
struct leaving {
    Stored__V1__Desired *desired; /* Owned; NULL: none. */
};
struct status leaving_read(struct ctl *ctl, struct uuid node,
                           struct leaving *out_leaving) MUST_CHECK;
bool leaving_has(const struct leaving *leaving, struct uuid disk);
void leaving_free(struct leaving *leaving);

/*
 * Whether a disk of a node that reports may get new shards: it works, is not to leave, and will not
 * fail; with_suspect: it may be suspect.
 */
bool disk_takes_shards(const Trilith__V1__DiskReport *disk, const struct leaving *leaving,
                       bool with_suspect);

/* ---- Verifications: verify_service.c ---- */

void on_start_verification(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);
void on_get_verification(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);
void on_stop_verification(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);

/* Puts those of its volumes into a node's part. */
void verifications_fill(struct ctl *ctl, Trilith__V1__WatchNodeResponse *part);
void verifications_end(struct ctl *ctl);

/* ---- Scrubs: scrub.c, scrub_service.c ---- */

void on_start_scrub(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);
void on_list_scrubs(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);
void on_stop_scrub(void *ctx, struct rpc_call *call, const ProtobufCMessage *message);

/* What the meta store has of them. */
struct status scrubs_load(struct ctl *ctl) MUST_CHECK;
void scrubs_end(struct ctl *ctl);

/* The same, when their progress was recorded. */
void scrubs_stop(struct ctl *ctl);

/* Takes in what a node says of its disks' scrubs, and of repairs of its volumes. */
void scrubs_take_report(struct ctl *ctl, const struct observed *o);

/* Puts what a node is to scrub, and to repair, into its part. */
void scrubs_fill(struct ctl *ctl, struct uuid node, Trilith__V1__WatchNodeResponse *part,
                 struct arena *arena);

/* Ends every held watch of a node, or of all nodes. */
void node_watches_answer(struct ctl *ctl, struct uuid node);
void node_watches_end(struct ctl *ctl);
void volume_waits_end(struct ctl *ctl);

#endif
