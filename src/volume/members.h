/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which replicas of a volume are in sync: the engine's one coordinator (docs/replication.md, 6.2).
 *
 *   slices: members_report() --> home: others are alive --> the next record --> meta store
 *                                                            |
 *   slices: held pieces go on <-- members change <-- SET at those who stay, durable (6.5)
 *
 * One change is under way at a time.  A volume of one replica has none of this.
 *
 * Threading: home's, but for what says otherwise.   Memory: embedded in the volume; two records.
 */
#ifndef VOLUME_MEMBERS_H
#define VOLUME_MEMBERS_H

#include <stdatomic.h>

#include "base/list.h"
#include "io/reactor.h"
#include "repl/group_steps.h"
#include "volume/alive.h"
#include "volume/leg.h"

struct copyset;
struct leg_call;
struct piece;
struct slice;
struct volume;
struct volume_meta_ops;

enum members_state {
    MEMBERS_IDLE,
    MEMBERS_ASKING,     /* Those who would remain: members_asked(). */
    MEMBERS_COMMITTING, /* The meta store: on_committed(). */
    MEMBERS_SETTING,    /* The disks that stay. */
    MEMBERS_SPREADING,  /* The slices. */
};

struct members {
    struct group *group; /* As committed, and spread; NULL: a volume of one replica. */
    struct group *next;
    const struct volume_meta_ops *meta;
    void *meta_ctx;
    enum members_state state;
    uint32_t pending; /* Messages of the present round. */
    struct io_msg round_msg;
    struct list held;               /* piece.link: Flushes that not all have confirmed. */
    struct list delayed;            /* piece.link: Flushes that wait for the settling. */
    atomic_bool flush_waits;        /* Flushes do. */
    bool fenced;                    /* Another engine has the volume, or it is to be closed. */
    bool fence_told;                /* To the slices. */
    bool spread_fence;              /* What they are being told of it: as of spread(). */
    struct alive alive;             /* Of those who would remain. */
    struct leg_call *leaving;       /* Whom the change excludes. */
    void (*then)(struct volume *v); /* When the change has ended; or NULL. */
    bool committed;                 /* The change is. */
    bool spread;                    /* The slices have heard of it. */
    bool behind;                    /* They have not heard of one that was committed. */
    struct list admissions;         /* resync_home.link: replicas that are to be admitted (9.9). */
    struct copyset *admitting;      /* Whose replica the change admits. */
    bool settled;                   /* All that was listed when the group was taken over (7.6). */
    atomic_bool heard_told;         /* heard_msg was sent. */
    struct io_msg heard_msg;
    bool heard;                 /* The host has heard of the loss (7.7). */
    struct io_timer anew_timer; /* The volume is to be opened anew, if somebody is not back then. */
    struct io_timer again_timer; /* Who is needed, and has failed a command, is asked again. */
};

/* A leg's part in it. */
struct members_leg {
    atomic_bool reported;
    struct io_msg report_msg;
    struct status why;
    bool suspect;              /* It is to be excluded, when that is possible. */
    bool told;                 /* Why it cannot be was logged. */
    bool asked_later;          /* again_timer has it in mind. */
    uint64_t gone_ns;          /* takeover_needs_another() since then; 0: no. */
    bool leaves;               /* It was excluded, and the slices have not heard of it. */
    atomic_bool spared;        /* It is in sync nowhere: no Flush waits for it. */
    atomic_bool passed_over;   /* members_pass_over() */
    _Atomic uint64_t quiet_ns; /* Until then it is not said again that it is full. */
    uint64_t regions_resynced; /* Since it was excluded, where it is in sync again. */
    /* SET */
    struct leg_io io;
    struct leg_remote_io remote_io;
    struct io_msg msg;
    struct store_set *sets; /* Of the change under way. */
    uint32_t set_count;
    uint32_t set_next;
    atomic_bool set_failed; /* It has not kept all that it was told as a member. */
    bool set_out;           /* It has not answered; home's, ... */
    bool set_waited;        /* ... and the change waits for it. */
    /* LIST_REGIONS */
    bool listed; /* What it lists was asked for when the group was taken over. */
    struct store_region *list;
    uint32_t list_count;
    /* LIST_POINTS, KEEP_POINTS */
    struct store_point *points;
    uint32_t point_count;
    uint32_t point_next;
};

/* Copies config's record, which names the volume's tuples.  NO_MEMORY. */
struct status members_init(struct members *m, const struct group *group,
                           const struct volume_meta_ops *meta, void *meta_ctx) MUST_CHECK;

/* Nothing is under way. */
void members_fini(struct members *m);

/* The sessions that are up, of disks that are not suspected.  items has VOLUME_STORES_MAX. */
void members_view(const struct volume *v, struct group_session *items, struct group_view *out_view);

/*
 * Of suspected ones, too: who could not be excluded is a member, and has what was copied from it.
 */
void members_view_all(const struct volume *v, struct group_session *items,
                      struct group_view *out_view);

/*
 * Commits next, and tells disks and slices.  then is called when that has ended, perhaps with
 * fenced.  No other change is under way.
 */
void members_change(struct volume *v, void (*then)(struct volume *v));

/* alive.h: all have answered that could be waited for. */
void members_asked(struct volume *v);

/* Whether a disk that stays has not kept the sets of the last change, or of one before. */
bool members_set_has_failed(const struct volume *v);

/*
 * 11.4, any reactor: regions are closed without this member, which is not there, or the group was
 * taken over without it: what it has is not known.  It is not used any more; when it is back the
 * volume is opened anew, which settles what it lists.
 */
void members_pass_over(struct leg *leg);
bool members_is_passed_over(const struct leg *leg);

/* 7.6: all is settled; the members' incarnations are recorded. */
void members_on_settled(struct volume *v);

/* Any reactor: the host has heard of the loss that the record says. */
void members_loss_heard(struct volume *v);

/*
 * I9: as long as a member may lack what a Flush would promise, as what it has lost is not made good
 * yet, Flushes wait.  members_flushes_wait() on home, before there are any; the others on the
 * front's reactor: command_flush_leg() follows a delay, or the end of the piece.
 */
void members_flushes_wait(struct volume *v);
void members_flushes_go_on(struct volume *v);
bool members_flush_waits(const struct volume *v);
void members_delay_flush(struct piece *p);

/* Everything ends with FENCED from now on. */
void members_fence(struct volume *v);

/* A fenced slice: a round, or the settling of a region, has ended. */
void members_slice_quiet(struct slice *s);

/* What remote legs have to say: reports; and whoever is back is suspected no longer. */
extern const struct leg_ops members_leg_ops;

/*
 * The leg's reactor: asks or tells its store something of its volume, by members.io: of store,
 * opcode and data are filled in here.  done gets the call as its owner; one at a time.
 */
void members_leg_submit(struct leg_call *call, enum store_opcode opcode, struct span data,
                        void (*done)(struct leg_io *io));

/* Home: changes that wait for their turn may have it; after a growth, too. */
void members_go_on(struct volume *v);

/* Home: whether record and slices say the same, and serve. */
bool members_are_known(const struct volume *v);

/* Home: which legs no Flush needs, as of the record. */
void members_spare_flushes(struct volume *v);

/* Any reactor: a Flush needs the leg from now on (9.8); whether it need not wait for it. */
void members_flush_needs(struct leg *leg);
bool members_flush_spares(const struct leg *leg);

/* The name of its disk, for messages. */
const char *members_disk(struct leg *leg);

/* Any reactor: a member has not executed a command, for this reason. */
void members_report(struct volume *v, struct leg *leg, struct status why);

/* The front's reactor: a Flush was not confirmed.  It ends when the leg is no member any more. */
void members_hold_flush(struct piece *p);

/* Home: ends those that are held for legs that are no members any more. */
void members_flushes_end(struct volume *v);

/* Home: sends those again that are held for the leg, which has another session. */
void members_flushes_again(struct volume *v, const struct leg *leg);

#endif
