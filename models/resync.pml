/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resync against foreground writes, and what a power failure leaves: docs/replication.md,
 * sections 9 to 11, as a model for spin.
 *
 * One region of one block, three stores, one engine at a time.  That there is one at a time, and
 * that exclusions are committed first, is what fencing.pml shows; here taking over is one step.
 * How to read it: see fencing.pml.
 *
 *   engine()   writes, Flush, takeover, and the resync of a replica that has returned
 *   store(s)   executes what it was sent; its machine loses power; its disk is replaced
 *
 * Each store has, durably, a list of its regions; here there is one region, so the list is a bit
 * set: bit r says that replica r is not known to be equal in it (3.3).
 *
 * The writes put 1, then 2, then 0 (a deallocation), then 1, ... into the block; with VALUES=2,
 * 1, then 0, then 1, ...
 *
 * BUG_...: deliberate bugs, one at a time; models/run proves that each is found.
 */

/* ---- How far to look.  models/run has the configurations. ---- */

#ifndef WRITES
#define WRITES 2
#endif
#ifndef DEATHS
#define DEATHS 1 /* Engines that die. */
#endif
#ifndef POWER
#define POWER 1 /* Stores that lose power, in all. */
#endif
#ifndef REPLACED
#define REPLACED 0 /* Disks replaced by empty ones. */
#endif
#ifndef RECLAIMS
#define RECLAIMS 0 /* Lists given up because somebody is away for too long. */
#endif
#ifndef EXCLUSIONS
#define EXCLUSIONS 2
#endif
#ifndef VALUES
#define VALUES 3
#endif
#ifndef MIN
#define MIN 1 /* min_in_sync */
#endif
#ifndef PARTS
#define PARTS 0 /* Members that fall silent, and are needed (11.4). */
#endif
#ifndef REFUSALS
#define REFUSALS 0 /* Writes that a member refuses once, as it is not ready. */
#endif

#define NONE      15
#define ALL       7
#define BIT(x)    (1 << (x))
#define HAS(m, s) (((m) >> (s)) & 1)
#define COUNT(m)  (HAS(m, 0) + HAS(m, 1) + HAS(m, 2))

/* ---- The state ---- */

byte rec_set = ALL; /* The meta record: who is in sync, */
byte rec_inc[3];    /* and with which incarnation. */

typedef store_t {
    byte mem;    /* What a read returns. */
    byte medium; /* What a power failure leaves for certain. */
    byte list;   /* Replicas not known to be equal here.  Durable before the data. */
    byte inc;
    bit blank;   /* The record says that all is to be copied: "whole" (3.1). */
#ifdef BUG_LIST_VOLATILE
    byte safe_list; /* What of the list a power failure leaves: as of the last flush. */
#endif
};
store_t st[3];

#define DEAD     0
#define SEALING  1
#define SETTLING 2
#define SERVING  3

/* The engine. */
byte state = SERVING;
byte set = ALL;
byte op = NONE;    /* The write in flight; in SETTLING the value chosen. */
byte sent;         /* Stores that have not executed it yet. */
byte acks;         /* Stores that have answered it. */
bit told;          /* The host has been answered. */
byte inc[3];       /* The incarnations of its sessions. */
byte broken;       /* Stores whose session is lost. */
byte equal;        /* Replicas that the last Flush has made equal and durable in the region, */
byte later;        /* and stores that have written there since: the tick of 3.4. */
byte gone;         /* 11.4: the member that is parted from; */
bit few;           /* the group was taken over without it. */

/* The resync of one returning replica. */
#define AWAY    0
#define JOINED  1 /* New writes flow to it. */
#define LISTED  2 /* The lists are read: todo says whether the region is to be copied. */
#define JOINT   3 /* It is equal; acknowledgements of writes and flushes wait for it, too. */
#define DURABLE 4 /* It has flushed since. */
#define ADMITTED 5 /* Its admission is committed, and not yet known to be. */
byte rs;
byte x;            /* Which replica. */
bit todo;
byte copied = NONE; /* A copy on its way: the value read from the source. */
bit passed;         /* It passes a write that is set aside (11.4). */

/* ---- What a host may expect.  Not part of the protocol. ---- */

byte legal = 1;  /* Bit set of the values that a read may return now. */
byte maybe = 1;  /* Values that a power failure of everything may leave. */
byte kept = ALL; /* Stores with the last acknowledged value that have not lost power since. */
/*
 * The stores are alike, so they are numbered by the order in which they first leave the set: 2
 * before 1 before 0.  Any other course of events is one of these under other names.
 */
byte left;
#define LEAVES(m) ((left | (m)) == 0 || (left | (m)) == 4 || (left | (m)) >= 6)

byte writes, deaths, powers, replaced, reclaims, exclusions, parts, refusals;

#define VALUE(n) (((n) + 1) % VALUES)

/* ---- The engine ---- */

/* Whom an acknowledgement needs. */
#ifdef BUG_ADMIT_NOT_JOINT
#define NEEDED set
#else
#define NEEDED (set | (rs >= JOINT -> BIT(x) : 0)) /* 9.8 */
#endif

inline keep_one(s)
{
    if :: HAS(NEEDED, s) && st[s].inc == inc[s] -> kept = kept | BIT(s) :: else fi
}

inline keep()
{
    kept = 0;
    keep_one(0); keep_one(1); keep_one(2)
}

inline forget_resync()
{
    if :: rs != AWAY && !HAS(set, x) -> inc[x] = 0 :: else fi;
    rs = AWAY;
    x = 0;
    todo = 0;
    copied = NONE;
    passed = 0
}

#define ASKED      (set & ~gone)
#define LIST_OF(s) (HAS(ASKED, s) -> st[s].list : 0)
#define LISTS      (LIST_OF(0) | LIST_OF(1) | LIST_OF(2))

/* The set's members with the recorded incarnation. */
#define CLEAN(s)   ((HAS(set, s) && inc[s] == rec_inc[s]) -> BIT(s) : 0)
#define CLEANS     (CLEAN(0) | CLEAN(1) | CLEAN(2))
#ifdef BUG_CHANGED_IS_SOURCE
#define SOURCES    set
#else
#define SOURCES    (CLEANS -> CLEANS : set)
#endif

inline record_incarnations()
{
    if :: HAS(set, 0) -> rec_inc[0] = inc[0] :: else fi;
    if :: HAS(set, 1) -> rec_inc[1] = inc[1] :: else fi;
    if :: HAS(set, 2) -> rec_inc[2] = inc[2] :: else fi
}

/* 7.6 */
inline begin_serving(value)
{
    if
    :: kept & set -> assert(legal & BIT(value)) /* R2 */
    :: else -> assert(maybe & BIT(value))       /* S1 */
    fi;
    legal = BIT(value);
    keep();
    if :: CLEANS -> record_incarnations() :: else fi;
    state = SERVING;
    op = NONE;
    acks = 0;
    sent = 0
}

/* 9.7  A write to the returning replica got lost, or its session: the resync begins anew. */
inline lose_x()
{
    if :: rs != AWAY -> sent = sent & ~BIT(x); acks = acks & ~BIT(x) :: else fi;
    forget_resync()
}

#ifdef BUG_COPY_OUTSIDE_ORDER
#define NO_COPY true
#else
#define NO_COPY (copied == NONE)
#endif

inline take_over(m)
{
    set = m;
    if :: HAS(m, 0) -> inc[0] = st[0].inc :: else fi;
    if :: HAS(m, 1) -> inc[1] = st[1].inc :: else fi;
    if :: HAS(m, 2) -> inc[2] = st[2].inc :: else fi;
    printf("engine: 7.4 seals %d, with the recorded incarnation %d\n", m, CLEANS);
    left = left | (rec_set & ~m);
    rec_set = m;
    if :: !HAS(m, 0) -> rec_inc[0] = 0 :: else fi;
    if :: !HAS(m, 1) -> rec_inc[1] = 0 :: else fi;
    if :: !HAS(m, 2) -> rec_inc[2] = 0 :: else fi;
    op = NONE;
    sent = 0;
#ifndef BUG_BASE_NOT_RECORDED
    if :: CLEANS == 0 -> record_incarnations() :: else fi;
#endif
    state = SEALING
}

/*
 * 7.4, 11.4  One of two members has everything, and the other is silent.  What that one is sent yet
 * by the engine before, it may as well have executed before this.
 */
#define MAY_DO(s) (PARTS > 0 && state == DEAD && COUNT(rec_set) == MIN && MIN == 2 && \
                   HAS(rec_set, s) && st[s].inc == rec_inc[s])

inline take_over_with(s)
{
    printf("engine: 11.4 seals store %d of %d\n", s, rec_set);
#ifdef BUG_ONE_IS_ENOUGH
    set = BIT(s);
#else
    set = rec_set;
    gone = rec_set & ~BIT(s);
    few = 1;
#endif
    inc[s] = st[s].inc;
    op = NONE;
    sent = 0;
    state = SERVING
}

#define MAY_SEAL(m) (state == DEAD && ((m) & ~rec_set) == 0 && COUNT(m) >= MIN && \
                     LEAVES(rec_set & ~(m)))

inline flush_store(s)
{
    st[s].medium = st[s].mem;
#ifdef BUG_LIST_VOLATILE
    st[s].safe_list = st[s].list
#endif
}

inline flush_one(s)
{
    if :: HAS(NEEDED, s) -> flush_store(s) :: else fi
}

#ifdef BUG_FENCE_CLOSES
inline close_one(s)
{
    if :: HAS(set, s) -> st[s].list = st[s].list & ~set :: else fi
}
#endif

inline choose(s)
{
    op = st[s].mem;
    acks = BIT(s);
    sent = set & ~BIT(s);
    state = SETTLING;
    printf("engine: 7.5 settles by store %d: %d\n", s, op)
}

/* 7.5 */
#define TO_SETTLE (state == SEALING && (LISTS & set))
#define ALL_EQUAL (state == SEALING && !(LISTS & set))

/* 11.4  A write that waits for the member that is parted from, and nothing is on its way. */
#define SET_ASIDE (gone != 0 && op != NONE && !told && (sent & ~gone) == 0)

/* Those to which a write is to be sent that has not been, or has been passed. */
#define UNSENT ((ASKED | (rs != AWAY -> BIT(x) : 0)) & ~(acks | sent | broken))

#define CAN_PART(s) (parts < PARTS && state == SERVING && gone == 0 && rs != AWAY && \
                     rs != ADMITTED && HAS(set, s) && COUNT(set) == MIN && MIN == 2)

inline part(s)
{
    parts++;
    gone = BIT(s);
    printf("engine: 11.4 parts from store %d\n", s)
}

inline die()
{
    state = DEAD;
    told = 0;
    set = 0;
    acks = 0;
    broken = 0;
    equal = 0;
    later = 0;
    gone = 0;
    few = 0;
    inc[0] = 0; inc[1] = 0; inc[2] = 0;
    forget_resync()
}

#define CAN_JOIN(s) (state == SERVING && rs == AWAY && !HAS(set, s))

inline join(s)
{
    rs = JOINED;
    x = s;
    inc[s] = st[s].inc;
    printf("engine: 9.1 store %d is back\n", s)
}

/* 3.3  The region is in the list, durably, before its data. */
inline open_region(s)
{
    st[s].list = ALL
}

inline note_later(s)
{
    if :: equal -> later = later | BIT(s) :: else fi
}

proctype engine()
{
    do
    /* 5.1  A write goes to the in-sync replicas, and to one that is being resynced. */
    :: d_step {
        state == SERVING && op == NONE && NO_COPY && writes < WRITES && sent == 0 ->
        op = VALUE(writes);
        writes++;
        sent = (ASKED | (rs != AWAY -> BIT(x) : 0)) & ~broken;
        acks = 0;
        legal = legal | BIT(op);
        maybe = maybe | BIT(op);
        printf("engine: 5.1 write %d to %d\n", op, sent)
       }

    /* 5.6  It is acknowledged... */
    :: d_step {
        state == SERVING && op != NONE && !told && (acks & NEEDED) == NEEDED ->
        printf("engine: 5.6 acknowledges %d\n", op);
        legal = BIT(op);
        keep();
        told = 1
       }

    /* ... and leaves the overlap order when the replica that is being resynced has it, too. */
    :: d_step {
        told && (rs == AWAY || !HAS(sent, x)) ->
        told = 0;
        op = NONE;
        acks = 0;
        sent = 0
       }

    /* 11.4  A write goes on that was set aside, or refused. */
    :: d_step {
        state == SERVING && op != NONE && !told && copied == NONE && UNSENT != 0 ->
        sent = sent | UNSENT;
        printf("engine: 11.4 sends write %d to %d\n", op, sent)
       }

    /* 3.4, 11.4  A round without the member that is parted from. */
    :: d_step {
        state == SERVING && gone != 0 && op == NONE && (broken & ~gone) == 0 &&
        (equal != (NEEDED & ~gone) || later != 0) ->
        if :: HAS(NEEDED & ~gone, 0) -> flush_store(0) :: else fi;
        if :: HAS(NEEDED & ~gone, 1) -> flush_store(1) :: else fi;
        if :: HAS(NEEDED & ~gone, 2) -> flush_store(2) :: else fi;
        equal = NEEDED & ~gone;
        later = 0;
        printf("engine: 11.4 closes at %d\n", equal)
       }

    /* 5.8 to 5.10  A Flush, confirmed by all. */
    :: d_step {
        state == SERVING && broken == 0 && gone == 0 && (equal != NEEDED || later != 0) &&
#ifdef BUG_CLOSE_WAITING
        /* 3.4  A write that is to be sent again, as a store has no room, counts as ended. */
        (op == NONE || (acks != 0 && sent != 0)) ->
#else
        op == NONE ->
#endif
#ifdef BUG_CLOSE_WITHOUT_FLUSH
        skip;
#else
        flush_one(0);
#ifndef BUG_FLUSH_PARTIAL
        flush_one(1); flush_one(2);
#endif
        maybe = legal;
#endif
        printf("engine: 5.10 flushed by %d\n", NEEDED);
#ifndef BUG_FLUSH_PARTIAL
        equal = NEEDED;
        later = 0
#endif
       }

#ifdef BUG_FLUSH_UNSETTLED
    /* 5.8  A Flush that does not wait until a member that has lost something is settled. */
    :: d_step {
        state == SEALING && (kept & set) != 0 && broken == 0 ->
        flush_one(0); flush_one(1); flush_one(2);
        maybe = legal;
        printf("engine: 5.10 flushed by %d, unsettled\n", NEEDED)
       }
#endif

    /* It dies, or is fenced.  What it has sent is still under way. */
    :: d_step {
        state != DEAD && deaths < DEATHS ->
        printf("engine: dies\n");
#ifdef BUG_FENCE_CLOSES
        /* 3.4  With its writes the tick has ended, and the round goes on. */
        if
        :: state == SERVING && op != NONE && broken == 0 ->
            flush_one(0); flush_one(1); flush_one(2);
            close_one(0); close_one(1); close_one(2)
        :: else
        fi;
#endif
        deaths++;
        die()
       }

    /* 7.1 to 7.4  Another one seals members that are enough, and removes the others. */
    :: d_step { MAY_SEAL(1) -> take_over(1) }
    :: d_step { MAY_SEAL(2) -> take_over(2) }
    :: d_step { MAY_SEAL(3) -> take_over(3) }
    :: d_step { MAY_SEAL(4) -> take_over(4) }
    :: d_step { MAY_SEAL(5) -> take_over(5) }
    :: d_step { MAY_SEAL(6) -> take_over(6) }
    :: d_step { MAY_SEAL(7) -> take_over(7) }

    :: d_step { MAY_DO(0) -> take_over_with(0) }
    :: d_step { MAY_DO(1) -> take_over_with(1) }
    :: d_step { MAY_DO(2) -> take_over_with(2) }

    /* 7.5  Some member lists the region as recent: one member's value is taken. */
#ifdef BUG_NO_SETTLE
    :: d_step { state == SEALING && HAS(set, 0) -> begin_serving(st[0].mem) }
    :: d_step { state == SEALING && HAS(set, 1) -> begin_serving(st[1].mem) }
    :: d_step { state == SEALING && HAS(set, 2) -> begin_serving(st[2].mem) }
#else
    :: d_step { TO_SETTLE && HAS(SOURCES & ~broken, 0) -> choose(0) }
    :: d_step { TO_SETTLE && HAS(SOURCES & ~broken, 1) -> choose(1) }
    :: d_step { TO_SETTLE && HAS(SOURCES & ~broken, 2) -> choose(2) }

    /* Nobody does: all are equal, and nothing was lost. */
    :: d_step { ALL_EQUAL && HAS(set & ~broken, 0) -> begin_serving(st[0].mem) }
    :: d_step { ALL_EQUAL && HAS(set & ~broken, 1) -> begin_serving(st[1].mem) }
    :: d_step { ALL_EQUAL && HAS(set & ~broken, 2) -> begin_serving(st[2].mem) }
#endif

    /* 7.6 */
    :: d_step {
        state == SETTLING && (acks & set) == set ->
        printf("engine: 7.6 serves, the block is %d\n", op);
        begin_serving(op)
       }

    /* ---- Resync ---- */

    /* 9.1  A replica that was excluded is back, with a session; new writes flow to it. */
    :: d_step { CAN_JOIN(0) -> join(0) }
    :: d_step { CAN_JOIN(1) -> join(1) }
    :: d_step { CAN_JOIN(2) -> join(2) }

    /* 11.4  A member that is needed is silent while another replica is resynced. */
    :: d_step { CAN_PART(0) -> part(0) }
    :: d_step { CAN_PART(1) -> part(1) }
    :: d_step { CAN_PART(2) -> part(2) }

    /* It is back.  What it lists is not known where the group was taken over without it. */
    :: d_step {
        gone != 0 && rs != ADMITTED && (broken & gone) == 0 ->
        printf("engine: 11.4 store of %d is back\n", gone);
#ifndef BUG_BACK_UNSETTLED
        if
        :: few -> die()
        :: else -> gone = 0
        fi
#else
        if :: few && HAS(gone, 0) -> inc[0] = st[0].inc :: else fi;
        if :: few && HAS(gone, 1) -> inc[1] = st[1].inc :: else fi;
        if :: few && HAS(gone, 2) -> inc[2] = st[2].inc :: else fi;
        gone = 0;
        few = 0
#endif
       }

    /* 9.2, 9.3  The writes that began before have ended.  Then the lists are read. */
    :: d_step {
        rs == JOINED &&
#ifndef BUG_LISTS_BEFORE_DRAIN
        (op == NONE || HAS(acks | sent, x)) &&
#endif
        true ->
        rs = LISTED;
#if defined(BUG_EXCESS_KEPT)
        todo = HAS(LISTS, x) || st[x].blank;
#elif defined(BUG_MISSED_IGNORED)
        todo = st[x].list != 0 || st[x].blank;
#else
        todo = HAS(LISTS, x) || st[x].list != 0 || st[x].blank;
#endif
        printf("engine: 9.3 store %d lists %d, the others %d: copy %d\n", x, st[x].list, LISTS,
               todo)
       }

    /* 9.4  A copy takes its place in the overlap order, and reads its source... */
    :: d_step {
        rs == LISTED && todo && copied == NONE && (op == NONE || SET_ASIDE) &&
        (ASKED & ~broken) != 0 ->
        if
        :: HAS(ASKED & ~broken, 0) -> copied = st[0].mem
        :: else ->
            if
            :: HAS(ASKED & ~broken, 1) -> copied = st[1].mem
            :: else -> copied = st[2].mem
            fi
        fi;
        passed = op != NONE;
        printf("engine: 9.4 copies %d to store %d\n", copied, x)
       }

    /* ... and the target executes it, unless it is equal already. */
    :: d_step {
        copied != NONE ->
        if
        :: st[x].mem != copied -> open_region(x); st[x].mem = copied; note_later(x)
        :: else
        fi;
        printf("store %d: 9.5 has the copy %d\n", x, copied);
        copied = NONE;
#ifndef BUG_PASSED_NOT_RESENT
        if :: passed -> acks = 0 :: else fi;
#endif
        passed = 0;
        todo = 0
       }

    /* 9.7 */
    :: d_step {
        rs != AWAY && exclusions < EXCLUSIONS &&
#ifndef BUG_ADMIT_NOT_JOINT
        rs != ADMITTED &&
#endif
        true ->
        exclusions++;
        printf("engine: 9.7 loses store %d\n", x);
        lose_x()
       }

    /* 9.8  It takes over what the survivors list for others that are away... */
    :: d_step {
        rs == LISTED && !todo &&
#ifndef BUG_ADMIT_UNANSWERED
        !(told && HAS(sent, x)) &&
#endif
        (op == NONE || HAS(acks | sent, x) || SET_ASIDE) ->
#ifndef BUG_LISTS_NOT_MERGED
        st[x].list = st[x].list | (LISTS & ~ASKED & ~BIT(x));
#ifndef BUG_MERGE_WITHOUT_TICK
        note_later(x); /* Or what was told to close before would close it. */
#endif
#endif
        rs = JOINT
       }

    /* ... and flushes: it may lack what a Flush has promised that it took no part in. */
    :: d_step {
        rs == JOINT ->
#ifndef BUG_ADMIT_UNFLUSHED
        flush_store(x);
#endif
        rs = DURABLE
       }

    /* 9.9  Its admission is committed. */
    :: d_step {
        rs == DURABLE && (gone == 0 || LEAVES(gone)) ->
        rs = ADMITTED;
        left = left | gone;
        rec_set = (rec_set | BIT(x)) & ~gone;
        rec_inc[x] = inc[x];
        if :: HAS(gone, 0) -> rec_inc[0] = 0 :: else fi;
        if :: HAS(gone, 1) -> rec_inc[1] = 0 :: else fi;
        if :: HAS(gone, 2) -> rec_inc[2] = 0 :: else fi;
        kept = kept | (st[x].inc == inc[x] -> BIT(x) : 0);
        assert((kept & set) == 0 || (kept & rec_set) != 0); /* R2 */
        st[x].blank = 0;
        printf("engine: 9.9 store %d is in sync\n", x)
       }

    /* 9.10  It learns so. */
    :: d_step {
        rs == ADMITTED ->
        set = (set | BIT(x)) & ~gone;
        if :: HAS(gone, 0) -> inc[0] = 0 :: else fi;
        if :: HAS(gone, 1) -> inc[1] = 0 :: else fi;
        if :: HAS(gone, 2) -> inc[2] = 0 :: else fi;
        sent = sent & ~gone;
        broken = broken & ~gone;
        gone = 0;
        few = 0;
        forget_resync()
       }
    od
}

/* ---- The stores ---- */

/* 6.1  Enough of these must remain when another one is excluded. */
#define SOUNDS (CLEANS & ~broken & ~gone)

inline lose_power(s)
{
    powers++;
    printf("store %d: loses power, has %d\n", s, st[s].mem);
    kept = kept & ~BIT(s);
    sent = sent & ~BIT(s);
#ifdef BUG_LIST_VOLATILE
    st[s].list = st[s].safe_list;
#endif
#ifndef BUG_POWER_CYCLED_IN_SYNC
    st[s].inc++;
    if
    :: rs != AWAY && x == s && rs != ADMITTED -> lose_x()
    :: else
    fi;
    if
    :: HAS(set, s) || (rs == ADMITTED && x == s) -> broken = broken | BIT(s)
    :: else
    fi
#endif
}

proctype store(byte s)
{
    do
    /* 5.5  It executes a write. */
    :: d_step {
        HAS(sent, s) ->
        printf("store %d: 5.5 has %d\n", s, op);
        open_region(s);
        st[s].mem = op;
        sent = sent & ~BIT(s);
        note_later(s);
        if :: state != DEAD && !HAS(gone, s) -> acks = acks | BIT(s) :: else fi
       }

    /* It refuses it, as it is being opened. */
    :: d_step {
        refusals < REFUSALS && state == SERVING && gone != 0 && HAS(sent & ASKED, s) ->
        refusals++;
        printf("store %d: refuses %d\n", s, op);
        sent = sent & ~BIT(s)
       }

    /* 6  It is excluded (the commit is one step here). */
    :: d_step {
        state >= SETTLING && HAS(set, s) && !HAS(acks, s) && exclusions < EXCLUSIONS &&
        COUNT(SOUNDS & ~BIT(s)) >= MIN && rs != ADMITTED && LEAVES(BIT(s)) ->
        exclusions++;
        left = left | BIT(s);
        inc[s] = 0;
        rec_inc[s] = 0;
        printf("engine: 6 excludes store %d\n", s);
        assert((kept & set) == 0 || (kept & set & ~BIT(s)) != 0); /* R2 */
        set = set & ~BIT(s);
        rec_set = rec_set & ~BIT(s);
        broken = broken & ~BIT(s);
        sent = sent & ~BIT(s)
       }

    /* 3.4  The engine has told it who is equal in the region. */
    :: d_step {
        state == SERVING && HAS(ASKED, s) && (st[s].list & equal) &&
#ifndef BUG_CLOSE_IGNORES_TICK
        !HAS(later, s) &&
#endif
        true ->
#ifdef BUG_CLOSE_FORGETS_AWAY
        st[s].list = 0;
#else
        st[s].list = st[s].list & ~equal;
#endif
        printf("store %d: 3.4 lists %d\n", s, st[s].list)
       }

#ifdef BUG_CLOSE_ALONE
    /* Its own data and checksums are durable: it closes the region on its own. */
    :: d_step { st[s].list != 0 && !HAS(sent, s) -> st[s].medium = st[s].mem; st[s].list = 0 }
#endif

    /* 8  A read. */
    :: d_step {
        state == SERVING && op == NONE && gone == 0 && HAS(set & ~broken, s) ->
        printf("engine: 8.4 reads %d from store %d\n", st[s].mem, s);
        assert(legal & BIT(st[s].mem));
        legal = BIT(st[s].mem)
       }

    /* Its machine loses power: what was not flushed is gone... */
    :: d_step {
        powers < POWER && st[s].mem != st[s].medium ->
        st[s].mem = st[s].medium;
        lose_power(s)
       }

    /* ... or remains. */
    :: d_step {
        powers < POWER ->
        st[s].medium = st[s].mem;
        lose_power(s)
       }

    /* It is away for too long: the members forget what it missed (3.1). */
    :: d_step {
        reclaims < RECLAIMS && !HAS(rec_set, s) && (rs == AWAY || x != s) && state == SERVING ->
        reclaims++;
        printf("engine: 3.1 does not list any longer what store %d missed\n", s);
        if :: HAS(set, 0) -> st[0].list = st[0].list & ~BIT(s) :: else fi;
        if :: HAS(set, 1) -> st[1].list = st[1].list & ~BIT(s) :: else fi;
        if :: HAS(set, 2) -> st[2].list = st[2].list & ~BIT(s) :: else fi;
#ifndef BUG_RECLAIM_UNMARKED
        st[s].blank = 1
#endif
       }

    /* 9.13, 11.2  Another disk, empty, gets the slot of one that is out of sync. */
    :: d_step {
        replaced < REPLACED && !HAS(rec_set, s) &&
#ifndef BUG_REPLACED_IN_RESYNC
        (rs == AWAY || x != s) &&
#endif
        true ->
        replaced++;
        printf("store %d: is empty\n", s);
        st[s].mem = 0;
        st[s].medium = 0;
        st[s].list = 0;
        st[s].inc = 0;
#ifndef BUG_REPLACED_UNMARKED
        st[s].blank = 1
#endif
       }
    od
}

init
{
    atomic {
        run engine();
        run store(0); run store(1); run store(2)
    }
}
