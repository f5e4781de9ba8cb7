/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One volume of a node: what is wanted of it, and how far that is.
 *
 * Threading: home.   Memory: from the heap; it frees itself when it is neither wanted nor open.
 */
#ifndef NODE_NODE_VOLUME_H
#define NODE_NODE_VOLUME_H

#include "base/sm.h"
#include "node/node.h"
#include "node/node_mend.h"
#include "node/node_verify.h"
#include "node/volume_group.h"
#include "node/volume_links.h"
#include "nvme/limits.h"
#include "nvme/target.h"
#include "volume/volume.h"

/* Leftovers that a report names; more are deleted when these are over. */
#define NODE_VOLUME_FORGOTTEN_MAX 16u

/* What is to be replaced is told to the engine again and again: a disk may have come. */
#define NODE_VOLUME_REPLACE_NS      (5 * NS_PER_S)
#define NODE_VOLUME_REPLACE_BUSY_NS (NS_PER_S / 5)

/* After a failure it is tried again: after 1 s, then twice as long, up to 5 s. */
#define NODE_VOLUME_RETRY_MIN_NS NS_PER_S
#define NODE_VOLUME_RETRY_MAX_NS (5 * NS_PER_S)

/* Before it is opened, links to other nodes are waited for so long: they may be starting, too. */
#define NODE_VOLUME_LINKS_NS (2 * NS_PER_S)

/* An engine that was told of a disk and was busy is told again after this. */
#define NODE_VOLUME_TELL_NS (100 * NS_PER_MS)

/* Connected hosts that a report names; more are left out of it. */
#define NODE_VOLUME_HOSTS_MAX 16

/* Disks with a problem that it names; likewise. */
#define NODE_VOLUME_PROBLEMS_MAX 16

struct node_volume {
    struct node *node;
    struct list_node link; /* node.volumes */
    struct sm sm;

    /* What is wanted; as of the last node_apply() that named it. */
    bool wanted;
    bool deleting;
    uint64_t delete_epoch;
    bool reopen; /* A disk of it has come, or another engine has it; or it needs another record, or
                  * another min_in_sync. */
    bool seen;   /* Named by the node_apply() that runs. */
    struct store_volume desc;
    struct nqn_text nqn;
    struct nqn_text *hosts;
    uint32_t host_count;
    struct uuid *disks;                /* All of the desired state's; the placement indexes them. */
    struct node_desired_place *places; /* Of each disk; NULL: nobody has said. */
    uint32_t disk_count;
    struct volume_placement *placement;
    uint32_t shard_count;
    struct volume_links links;
    struct volume_replacement *replacements; /* Disks are indexes as in the placement. */
    uint32_t replacement_count;
    uint32_t *leftovers; /* Likewise. */
    uint32_t leftover_count;

    /* What is. */
    struct volume_group *group; /* Of several replicas; made when it is first needed. */
    uint64_t epoch;
    struct volume *volume;
    uint64_t served_bytes;      /* The engine's size. */
    uint64_t growing_bytes;     /* Its next one, while it grows. */
    struct nvme_subsys *subsys; /* While it is served. */
    char reason[NODE_REASON_BYTES];
    struct nqn_text connected[NODE_VOLUME_HOSTS_MAX];           /* As of the last report. */
    struct node_volume_disk problems[NODE_VOLUME_PROBLEMS_MAX]; /* Likewise. */
    struct volume_range unreadable[VOLUME_UNREADABLE_MAX];      /* Likewise. */
    struct node_verify verify;
    struct node_mends mends;
    struct io_timer retry;
    uint64_t retry_ns;
    struct io_timer tell; /* The engine of disks that have come. */
    bool replace_news;    /* The engine has not been told what is to be replaced now. */
    bool replace_asked;   /* It has been told something. */
    struct io_timer replace_timer;
    struct uuid forgotten[NODE_VOLUME_FORGOTTEN_MAX]; /* Leftovers that have nothing any more. */
    uint32_t forgotten_count;
    bool forgetting; /* The engine deletes what this one has: */
    struct uuid forget_disk;
    uint32_t forget_next; /* They take turns: one that fails does not keep back the others. */
};

/* Adds a volume that is not wanted yet.  NULL if memory is short. */
struct node_volume *node_volume_create(struct node *node, struct uuid uuid);

/*
 * Takes over what is wanted, and begins to do it.  NO_MEMORY: what was wanted before still is.  The
 * volume may be gone afterwards.
 */
struct status node_volume_want(struct node_volume *v, const struct node_desired *desired,
                               const struct node_desired_volume *wanted) MUST_CHECK;

/* It is not wanted any more (its data is kept).  The volume may be gone afterwards. */
void node_volume_drop(struct node_volume *v);

/* Whether a shard of it lies on the disk, as far as is wanted. */
bool node_volume_uses(const struct node_volume *v, struct uuid disk);

/* The same, or its engine has a session there for another reason. */
bool node_volume_needs(const struct node_volume *v, struct uuid disk);

/* A disk has come: an engine of several replicas is told of it, and resyncs it; that of one is
 * opened anew if it was opened without it. */
void node_volume_disk_came(struct node_volume *v, struct uuid disk);

/* Whether a disk of v->disks is here, or the node that has it can be reached. */
bool node_volume_reaches(const struct node_volume *v, uint32_t disk);

/* It is not wanted any more, and whatever waits for its replicas ends. */
void node_volume_fence(struct node_volume *v);

/* The name of one of its disks, or its UUID if nobody has said. */
struct node_disk_name {
    char s[STORE_NAME_BYTES];
};
struct node_disk_name node_volume_disk_name(const struct node_volume *v, struct uuid disk);

/* 7.8: its engine completes nothing any more: it is opened anew, with the next epoch. */
void node_volume_on_fenced(struct node_volume *v);

/* Whether its engine is open, and hosts may be connected. */
bool node_volume_is_served(const struct node_volume *v);

/* What to tell the controller; the hosts are kept in the volume until it is asked again. */
void node_volume_report(struct node_volume *v, struct node_volume_report *out_report);

/* Its part for a volume that is served: node_volume_report.c. */
void node_volume_fill_served(struct node_volume *v, struct node_volume_report *out_report);

/* ---- For the parts of node_volume.c that are files of their own ---- */

/* Goes on with what is wanted. */
void node_volume_step(struct node_volume *v);

/* One of the volume's disks, as its engine is told of it; the name is lent. */
struct volume_disk node_volume_disk(const struct node_volume *v, uint32_t disk, const char *name);

/* Tells the engine of v->replacements: as volume_replace(). */
struct status node_volume_try_replace(const struct node_volume *v) MUST_CHECK;

#endif
