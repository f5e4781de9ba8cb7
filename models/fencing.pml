/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replication, fencing and leases: docs/replication.md, sections 4 to 8, as a model for spin.
 *
 * One block, three stores, two engines.  Engine 0 serves with epoch 1; either engine may take the
 * next epoch at any time, also while the other one still believes that it serves (a partition, a
 * pause).  Messages take any time and connections break; nothing else is needed to stand for a
 * partition: it is a message that does not arrive yet.  A paused engine is one that takes no step.
 *
 * How to read it: a process is a loop over guarded steps, "guard -> effect".  Each step happens at
 * once (d_step); spin tries every order of all steps of all processes, and every choice
 * inside them.  The comment in front of a step names the step of docs/replication.md.
 *
 *   engine(e)   what an engine does alone, and with the meta record
 *   link(e, s)  what happens between engine e and store s
 *   store(s)    what happens to a store: its process dies, its machine loses power
 *
 * Values: each write has its own, 1, 2, ...; 0 is what the block held in the beginning.
 *
 * BUG_...: deliberate bugs, one at a time; models/run proves that each is found.
 */

/* ---- How far to look.  models/run has the configurations. ---- */

#ifndef WRITES
#define WRITES 2 /* Writes, in all. */
#endif
#ifndef EPOCHS
#define EPOCHS 2 /* Engines that take over: one less. */
#endif
#ifndef CUTS
#define CUTS 1 /* Connections that break on their own. */
#endif
#ifndef POWER
#define POWER 1 /* Stores that lose power, in all. */
#endif
#ifndef RESTARTS
#define RESTARTS 0 /* Store processes that die and come back. */
#endif
#ifndef FULL
#define FULL 0 /* Writes that a store has no space for, in all. */
#endif
#ifndef MIN
#define MIN 1 /* min_in_sync */
#endif

#define NONE       15 /* No operation. */
#define ALL        7
#define BIT(x)     (1 << (x))
#define HAS(m, s)  (((m) >> (s)) & 1)
#define COUNT(m)   (HAS(m, 0) + HAS(m, 1) + HAS(m, 2))
#define OTHER(e)   (1 - (e))

/* ---- The state ---- */

/* The meta record of the ownership group.  Each change of it is one transaction. */
byte rec_epoch = 1;
byte rec_set = ALL;    /* In sync. */
byte rec_inc[3];       /* The incarnation for which that was said (R6). */

typedef store_t {
    byte mem;    /* What a read returns. */
    byte medium; /* What a power failure leaves for certain. */
    byte epoch;  /* The highest that sealed it.  Durable. */
    byte inc;    /* Its incarnation. */
#ifdef BUG_RESTART_FORGETS_LEASE
    bit young;   /* Its process does not know what leases were given. */
#endif
};
store_t st[3];

#define OFF      0 /* Dead, fenced, or not yet started. */
#define SEALING  1 /* Has an epoch; seals the members. */
#define SETTLING 2 /* Makes the members equal (R9). */
#define SERVING  3

#define IDLE  0
#define SENT  1 /* On its way to the store, or in its socket. */
#define TAKEN 2 /* The store has checked epoch and session and lets it through: it will happen. */

typedef engine_t {
    byte state;
    byte epoch;
    byte set;     /* The in-sync set, as far as it knows. */
    byte sealed;  /* Members that have answered the seal; */
    byte clean;   /* of them, those with the recorded incarnation. */
    byte lease;   /* Stores whose confirmation is not older than the lease (R7). */
    byte op;      /* The write in flight, or NONE.  In SETTLING the value chosen. */
    byte acks;    /* Stores that have answered it.  When it reads the answers is its own matter. */
    byte spent;   /* Stores that have no space for it. */
    byte back;    /* The write that is taken back, or 0.  op is then what the block was before. */
    byte leaving; /* 1 + the store whose exclusion is committed, but not yet known to be; or 0. */
    byte inc[3];  /* The incarnation of each store's session. */
    byte slot[3]; /* What has become of op at each store. */
    bit conn[3];  /* The session at each store is up. */
};
engine_t en[2];

#ifdef BUG_STALE_SESSION
byte stale[6]; /* A write of an ended session that the store has not read yet. */
#endif

/* ---- What a host may expect.  Not part of the protocol. ---- */

byte cur = 1;    /* The epoch of the engine that has last begun to serve. */
byte legal = 1;  /* Bit set of the values that a read may return now. */
byte base = 1;   /* Of them, the one that is the block's; the other is a write in flight. */
byte lost;       /* Values that were given up when a new engine settled the block. */
byte kept = ALL; /* Stores with the last acknowledged value that have not lost power since. */
byte next = 1;   /* The next write's value. */
byte cuts, powers, restarts, refusals;

/* ---- What an engine does ---- */

/* 7.1  It takes the next epoch, and reads the set in the same transaction. */
inline take_epoch(e)
{
    rec_epoch++;
    en[e].epoch = rec_epoch;
    en[e].set = rec_set;
    en[e].state = SEALING;
    en[e].op = NONE;
    printf("engine %d: 7.1 takes epoch %d, set %d\n", e, rec_epoch, rec_set)
}

/* The record takes the incarnations of the members' sessions. */
inline record_incarnations(e)
{
    if :: HAS(en[e].set, 0) -> rec_inc[0] = en[e].inc[0] :: else fi;
    if :: HAS(en[e].set, 1) -> rec_inc[1] = en[e].inc[1] :: else fi;
    if :: HAS(en[e].set, 2) -> rec_inc[2] = en[e].inc[2] :: else fi;
}

/*
 * 7.4  It removes the members that did not answer.  Where no member of those sealed has the
 * recorded incarnation, what was not flushed is given up: the record takes the new incarnations,
 * before the first completion, or a later engine could not tell one more power failure from this.
 */
inline remove_silent(e)
{
    en[e].set = en[e].sealed;
#ifndef BUG_SERVE_BEFORE_REMOVAL
    rec_set = en[e].sealed;
#endif
    if
    :: en[e].clean == 0 -> record_incarnations(e)
    :: else
    fi
}

inline send_one(e, s)
{
    if
    :: HAS(en[e].set, s) && en[e].conn[s] && !HAS(en[e].acks, s) -> en[e].slot[s] = SENT
    :: else -> en[e].slot[s] = IDLE
    fi
}

inline send_all(e)
{
    send_one(e, 0); send_one(e, 1); send_one(e, 2);
}

/* To who is full as well: it may have space by now, and its refusal is forgotten (11.1). */
inline send_again(e)
{
#ifndef BUG_FULL_SENT_AGAIN
    en[e].spent = 0;
#endif
    if :: en[e].slot[0] == IDLE -> send_one(e, 0) :: else fi;
    if :: en[e].slot[1] == IDLE -> send_one(e, 1) :: else fi;
    if :: en[e].slot[2] == IDLE -> send_one(e, 2) :: else fi
}

/* It completes nothing any more.  What it has sent is still under way. */
inline stop(e)
{
    en[e].state = OFF;
    en[e].lease = 0;
    forget(e)
}

/* What no step looks at is zero, so that states which differ in it alone are one. */
inline forget(e)
{
    en[e].set = 0;
    en[e].sealed = 0;
    en[e].clean = 0;
    en[e].acks = 0;
    en[e].spent = 0;
    en[e].back = 0;
    en[e].leaving = 0;
    en[e].inc[0] = 0; en[e].inc[1] = 0; en[e].inc[2] = 0;
    en[e].conn[0] = 0; en[e].conn[1] = 0; en[e].conn[2] = 0
}

/* The operation is over. */
inline finish(e)
{
    en[e].op = NONE;
    en[e].acks = 0;
    en[e].spent = 0;
    en[e].back = 0;
    en[e].slot[0] = IDLE; en[e].slot[1] = IDLE; en[e].slot[2] = IDLE;
}

/* The members that have what was just completed, and have not lost power since they had it. */
inline keep_one(e, s)
{
    if
    :: HAS(en[e].set, s) && st[s].inc == en[e].inc[s] -> kept = kept | BIT(s)
    :: else
    fi
}

inline keep(e)
{
    kept = 0;
    keep_one(e, 0); keep_one(e, 1); keep_one(e, 2)
}

/* 7.6  All members have the value chosen: from now on it is the block's, and no other. */
inline end_settle(e)
{
    if
    :: kept & en[e].set ->
        assert(legal & BIT(en[e].op)); /* R2: an acknowledged write was lost. */
        lost = lost | (legal & ~base & ~BIT(en[e].op))
    :: else /* Power failed: what is acknowledged late, is as if it had failed right after. */
    fi;
    legal = BIT(en[e].op);
    base = legal;
    cur = en[e].epoch;
    keep(e);
    if
    :: en[e].clean -> record_incarnations(e)
    :: else /* 7.4 did. */
    fi;
    en[e].state = SERVING;
    en[e].sealed = 0;
    en[e].clean = 0;
    finish(e)
}

/* 5.6  The host is answered. */
inline acknowledge(e)
{
    assert(!(lost & BIT(en[e].op))); /* Acknowledged, but a newer engine gave it up. */
    if
    :: en[e].epoch == cur ->
        legal = BIT(en[e].op);
        base = legal;
        keep(e)
    :: else
    fi;
    finish(e)
}

/* 11.1  The host is told that there is no space: the write has had no effect. */
inline refuse(e)
{
    if
    :: en[e].epoch == cur -> legal = base
    :: else -> assert(!(legal & BIT(en[e].back))) /* A newer engine has it all the same. */
    fi;
    finish(e)
}

#define ALL_ANSWERED(e) ((en[e].acks & en[e].set) == en[e].set)

/* 11.1  Who was full is still a member. */
#ifdef BUG_FULL_LEFT
#define MAY_REFUSE(e) true
#else
#define MAY_REFUSE(e) ((en[e].spent & en[e].set) != 0)
#endif

/* Nothing of its former life is under way. */
#define NOTHING_SENT(e) (en[e].slot[0] == IDLE && en[e].slot[1] == IDLE && en[e].slot[2] == IDLE)

proctype engine(byte e)
{
    do
    /* 7.1 */
    :: d_step { en[e].state == OFF && NOTHING_SENT(e) && rec_epoch < EPOCHS -> take_epoch(e) }

    /* 7.4  Enough members are sealed. */
    :: d_step {
        en[e].state == SEALING && en[e].op == NONE && COUNT(en[e].sealed) >= MIN &&
        rec_epoch == en[e].epoch ->
        printf("engine %d: 7.4 members %d, of them with the recorded incarnation %d\n", e,
               en[e].sealed, en[e].clean);
        remove_silent(e);
        en[e].state = SETTLING
       }

    /* 7.6  The CAS that ends the settling must succeed. */
    :: d_step {
        en[e].state == SETTLING && en[e].op != NONE && ALL_ANSWERED(e) &&
        rec_epoch == en[e].epoch ->
        printf("engine %d: 7.6 serves, the block is %d\n", e, en[e].op);
        end_settle(e)
       }

    /* 5.1  A write enters the overlap order (nothing else is in flight) and goes to all. */
    :: d_step {
        en[e].state == SERVING && en[e].op == NONE && next <= WRITES ->
        en[e].op = next;
        printf("engine %d: 5.1 write %d to %d\n", e, next, en[e].set);
        legal = legal | BIT(next);
        next++;
        send_all(e)
       }

    /* 5.6  Every in-sync replica has it, as far as this engine knows: no lease is needed. */
    :: d_step {
        en[e].state == SERVING && en[e].op != NONE && en[e].back == 0 && ALL_ANSWERED(e) ->
        printf("engine %d: 5.6 acknowledges %d\n", e, en[e].op);
        acknowledge(e)
       }

    /* 11.1  Every member has executed it or is full: it is taken back. */
    :: d_step {
        en[e].state == SERVING && en[e].back == 0 && (en[e].spent & en[e].set) != 0 &&
        ((en[e].acks | en[e].spent) & en[e].set) == en[e].set ->
        printf("engine %d: 11.1 takes %d back\n", e, en[e].op);
        en[e].back = en[e].op;
        en[e].acks = 0;
        en[e].slot[0] = IDLE; en[e].slot[1] = IDLE; en[e].slot[2] = IDLE
       }

    /* 11.1  It is, at all members: the host may be told. */
    :: d_step {
        en[e].state == SERVING && en[e].back != 0 && ALL_ANSWERED(e) && MAY_REFUSE(e) ->
        printf("engine %d: 11.1 refuses %d\n", e, en[e].back);
        refuse(e)
       }

    /* 11.1  All that were full have left meanwhile: nobody knows what was there.  It is sent anew. */
    :: d_step {
        en[e].state == SERVING && en[e].back != 0 && !MAY_REFUSE(e) && NOTHING_SENT(e) ->
        printf("engine %d: 11.1 writes %d again\n", e, en[e].back);
        en[e].op = en[e].back;
        en[e].back = 0;
        en[e].acks = 0;
        send_all(e)
       }

    /* 6.4  It learns that an exclusion was committed. */
    :: d_step {
        en[e].state >= SETTLING && en[e].leaving != 0 ->
        printf("engine %d: 6.4 knows that store %d is excluded\n", e, en[e].leaving - 1);
#ifdef BUG_ACK_BEFORE_COMMIT
        if
        :: rec_epoch == en[e].epoch -> rec_set = rec_set & ~BIT(en[e].leaving - 1)
        :: else -> stop(e)
        fi;
#else
        en[e].set = en[e].set & ~BIT(en[e].leaving - 1);
#endif
        en[e].leaving = 0
       }

    /* It dies, or learns that it is fenced.  What it has sent is still under way. */
    :: d_step {
        en[e].state != OFF && (rec_epoch < EPOCHS || rec_epoch > en[e].epoch) ->
        printf("engine %d: stops\n", e);
        stop(e)
       }
    od
}

/* ---- What happens between an engine and a store ---- */

/*
 * The stores are alike, so they are numbered by the order in which they are first sealed.  Any
 * other course of events is one of these under other names.
 */
#define IN_ORDER(s) (s == 0 || st[s - 1].epoch > 1)

#define CURRENT(e, s) (st[s].epoch == en[e].epoch)

/* S4: nothing that the store let through for the other engine, or an older session, is left. */
#ifdef BUG_SEAL_NO_DRAIN
#define DRAINED(e, s) true
#else
#define DRAINED(e, s) (en[OTHER(e)].slot[s] != TAKEN && en[e].slot[s] != TAKEN)
#endif

/*
 * 7.3  The store waits until the lease that it last gave has run out: when this step is taken, it
 * has.  A lease that runs out earlier only forbids reads; so it needs no step of its own.  The
 * engine counts from when it sent its question, the store from when it answered.
 */
inline wait_for_lease(e, s)
{
#if defined(BUG_SEAL_IGNORES_LEASE)
    skip;
#elif defined(BUG_CLOSE_ENDS_LEASE)
    if
    :: en[OTHER(e)].conn[s] -> en[OTHER(e)].lease = en[OTHER(e)].lease & ~BIT(s)
    :: else /* The connections of the old engine are gone, so its process must be. */
    fi;
#elif defined(BUG_RESTART_FORGETS_LEASE)
    if
    :: !st[s].young -> en[OTHER(e)].lease = en[OTHER(e)].lease & ~BIT(s)
    :: else
    fi;
#else
    en[OTHER(e)].lease = en[OTHER(e)].lease & ~BIT(s);
#endif
}

inline answer_seal(e, s)
{
    wait_for_lease(e, s);
    en[e].sealed = en[e].sealed | BIT(s);
    en[e].lease = en[e].lease | BIT(s);
    en[e].inc[s] = st[s].inc;
    en[e].conn[s] = 1;
#ifdef BUG_POWER_CYCLED_IN_SYNC
    en[e].clean = en[e].clean | BIT(s);
#else
    if
    :: st[s].inc == rec_inc[s] -> en[e].clean = en[e].clean | BIT(s)
    :: else -> en[e].clean = en[e].clean & ~BIT(s)
    fi;
#endif
}

/* 7.5  Which members' values are right. */
#ifdef BUG_NO_SETTLE
#define SOURCES(e) en[e].set
#else
#define SOURCES(e) (en[e].clean & en[e].set -> en[e].clean & en[e].set : en[e].set)
#endif

/*
 * 6.1  Members that have everything promised, and whose sessions are up: enough of them must
 * remain when another one is excluded.
 */
#ifdef BUG_EXCLUDE_BLINDLY
#define SOUND(e, s) HAS(en[e].set, s)
#else
#define SOUND(e, s) (HAS(en[e].set, s) && en[e].conn[s] && en[e].inc[s] == rec_inc[s])
#endif
#define SOUNDS(e) ((SOUND(e, 0) -> 1 : 0) | (SOUND(e, 1) -> 2 : 0) | (SOUND(e, 2) -> 4 : 0))

/* It has not answered; or, beside what it has answered, it was read to take a write back. */
#define MAY_FAIL(e, s) (!HAS(en[e].acks, s) || (en[e].back != 0 && HAS(en[e].spent, s)))

proctype link(byte e; byte s)
{
    do
    /* 7.2  A seal arrives: the epoch is durable, and older commands are refused from now on. */
    :: d_step {
        en[e].state == SEALING && HAS(en[e].set, s) && st[s].epoch < en[e].epoch &&
        IN_ORDER(s) ->
        printf("store %d: 7.2 refuses what is older than epoch %d\n", s, en[e].epoch);
        st[s].epoch = en[e].epoch
       }

    /* 7.3  Older commands have ended, the lease has run out: the seal is answered. */
    :: d_step {
        en[e].state == SEALING && HAS(en[e].set, s) && !HAS(en[e].sealed, s) && CURRENT(e, s) &&
        DRAINED(e, s) ->
        printf("store %d: 7.3 answers the seal of engine %d, block %d\n", s, e, st[s].mem);
        answer_seal(e, s)
       }

    /* 7.5  The value of one member is chosen, and goes to the others. */
    :: d_step {
        en[e].state == SETTLING && en[e].op == NONE && en[e].conn[s] && CURRENT(e, s) &&
        HAS(SOURCES(e), s) ->
        en[e].op = st[s].mem;
        printf("engine %d: 7.5 settles by store %d: %d\n", e, s, st[s].mem);
#ifdef BUG_NO_SETTLE
        en[e].acks = en[e].set;
#else
        en[e].acks = BIT(s);
#endif
        send_all(e)
       }

    /* 5.3  The store takes a command of the current epoch and session... */
    :: d_step {
        en[e].slot[s] == SENT && CURRENT(e, s) ->
        printf("store %d: 5.3 takes %d of engine %d\n", s, en[e].op, e);
        en[e].slot[s] = TAKEN
       }

    /* ... and refuses any other. */
    :: d_step {
        en[e].slot[s] == SENT && st[s].epoch > en[e].epoch ->
        en[e].slot[s] = IDLE;
        en[e].conn[s] = 0
       }

    /*
     * 5.5  It happens.  The answer counts if the connection is still there.  When the engine reads
     * it does not matter: what it does about it is a step of its own.
     */
    :: d_step {
        en[e].slot[s] == TAKEN ->
        printf("store %d: 5.5 has %d of engine %d\n", s, en[e].op, e);
        st[s].mem = en[e].op;
        if
        :: en[e].conn[s] -> en[e].acks = en[e].acks | BIT(s)
        :: else
        fi;
        en[e].slot[s] = IDLE
       }

#if FULL
    /* 11.1  Or it has no space for a write that it has not executed yet, and answers that. */
    :: d_step {
        en[e].slot[s] == TAKEN && en[e].state != SETTLING && en[e].back == 0 &&
        st[s].mem != en[e].op && refusals < FULL ->
        refusals++;
        printf("store %d: 11.1 is full for %d of engine %d\n", s, en[e].op, e);
        if
        :: en[e].conn[s] -> en[e].spent = en[e].spent | BIT(s)
        :: else
        fi;
        en[e].slot[s] = IDLE
       }

    /* 11.1  What one that is full has goes to the others; if they have left, what anybody has. */
    :: d_step {
        en[e].state == SERVING && en[e].back != 0 && en[e].acks == 0 && en[e].conn[s] &&
        CURRENT(e, s) && HAS(en[e].set, s) &&
        (HAS(en[e].spent, s) || (en[e].spent & en[e].set) == 0) ->
        en[e].op = st[s].mem;
        printf("engine %d: 11.1 takes %d back by store %d: %d\n", e, en[e].back, s, en[e].op);
#ifdef BUG_FULL_NOT_UNDONE
        en[e].acks = en[e].set;
#else
        en[e].acks = BIT(s);
#endif
        send_all(e)
       }

#ifdef BUG_FULL_IS_EXCLUDED
    /* Who is full is excluded, whoever remains. */
    :: d_step {
        en[e].state == SERVING && HAS(en[e].spent & en[e].set, s) && en[e].leaving == 0 &&
        rec_epoch == en[e].epoch && COUNT(en[e].set & ~BIT(s)) >= MIN ->
        printf("engine %d: excludes store %d, which is full\n", e, s);
        assert((kept & rec_set) == 0 || (kept & rec_set & ~BIT(s)) != 0); /* R2 */
        rec_set = rec_set & ~BIT(s);
        en[e].leaving = s + 1
       }
#endif
#endif

    /* 8.2  The engine asks, the store confirms the epoch. */
    :: d_step {
        en[e].state == SERVING && en[e].conn[s] && CURRENT(e, s) && !HAS(en[e].lease, s) ->
        en[e].lease = en[e].lease | BIT(s)
       }

    /*
     * 8.1 to 8.4  A read from this store.  It is one step: delays between its parts make it
     * overlap with more writes, and so allow it more values.
     */
    :: d_step {
        en[e].state == SERVING && en[e].op == NONE && HAS(en[e].set, s) && en[e].conn[s] &&
#ifndef BUG_READ_NO_LEASE
        ((en[e].lease | BIT(s)) & en[e].set) == en[e].set &&
#endif
        CURRENT(e, s) ->
        printf("engine %d: 8.4 reads %d from store %d\n", e, st[s].mem, s);
        assert(legal & BIT(st[s].mem)); /* R7: a stale read, or one that goes backwards. */
        assert(en[e].epoch == cur);     /* R3 */
        legal = BIT(st[s].mem);
        base = legal
       }

    /* 6.1 to 6.3  The engine excludes the store, and the exclusion is committed. */
    :: d_step {
        en[e].state >= SETTLING && HAS(en[e].set, s) && MAY_FAIL(e, s) &&
        en[e].leaving == 0 && COUNT(SOUNDS(e) & ~BIT(s)) >= MIN &&
        (en[e].state == SERVING || en[e].op != NONE) ->
        printf("engine %d: 6.1 excludes store %d\n", e, s);
#ifdef BUG_ACK_BEFORE_COMMIT
        en[e].set = en[e].set & ~BIT(s);
        en[e].leaving = s + 1
#else
        if
#ifdef BUG_NO_COMPARE
        :: true ->
#else
        :: rec_epoch == en[e].epoch ->
#endif
            assert((kept & rec_set) == 0 || (kept & rec_set & ~BIT(s)) != 0); /* R2 */
            rec_set = rec_set & ~BIT(s);
            en[e].leaving = s + 1
        :: else -> /* The record names another engine: this one is fenced. */
            printf("engine %d: 6.3 is fenced\n", e);
            stop(e)
        fi
#endif
       }

    /* The connection breaks. */
    :: d_step {
        en[e].conn[s] && cuts < CUTS ->
        cuts++;
        printf("cut: engine %d, store %d\n", e, s);
        en[e].conn[s] = 0;
        if
        :: en[e].state == SEALING -> /* It must be sealed again. */
            en[e].sealed = en[e].sealed & ~BIT(s);
            en[e].clean = en[e].clean & ~BIT(s)
        :: else
        fi
       }

    /* What a broken connection had not delivered is gone. */
    :: d_step {
        en[e].slot[s] == SENT && !en[e].conn[s] && en[e].state == OFF -> en[e].slot[s] = IDLE
       }

    /*
     * 4.3  A new session after a lost connection.  What the old one left is dropped or has ended;
     * the operation in flight is sent again.  A store with a new incarnation is not taken back.
     */
    :: d_step {
        en[e].state >= SETTLING && !en[e].conn[s] && HAS(en[e].set, s) && CURRENT(e, s) &&
#ifdef BUG_POWER_CYCLED_IN_SYNC
        DRAINED(e, s) ->
        en[e].inc[s] = st[s].inc;
#elif defined(BUG_STALE_SESSION)
        st[s].inc == en[e].inc[s] ->
        if
        :: en[e].slot[s] == SENT -> stale[e * 3 + s] = en[e].op
        :: else
        fi;
#else
        st[s].inc == en[e].inc[s] && DRAINED(e, s) ->
#endif
        printf("store %d: 4.3 new session of engine %d\n", s, e);
        en[e].conn[s] = 1;
        en[e].slot[s] = IDLE;
        if
        :: en[e].op != NONE && en[e].back == 0 -> send_again(e)
        :: en[e].back != 0 && en[e].acks != 0 -> send_one(e, s)
        :: else
        fi
       }

#ifdef BUG_STALE_SESSION
    /* The store reads what the old connection had brought, and executes it. */
    :: d_step {
        stale[e * 3 + s] != 0 && CURRENT(e, s) ->
        printf("store %d: executes the stale write %d of engine %d\n", s, stale[e * 3 + s], e);
        st[s].mem = stale[e * 3 + s];
        stale[e * 3 + s] = 0
       }
#endif
    od
}

/* ---- What happens to a store ---- */

inline lose_connection(e, s)
{
    en[e].conn[s] = 0;
    en[e].slot[s] = IDLE;
    if
    :: en[e].state == SEALING ->
        en[e].sealed = en[e].sealed & ~BIT(s);
        en[e].clean = en[e].clean & ~BIT(s)
    :: else
    fi
}

inline lose_epoch(s)
{
#ifdef BUG_EPOCH_VOLATILE
    if :: st[s].epoch > 1 -> st[s].epoch = st[s].epoch - 1 :: else fi
#else
    skip
#endif
}

inline lose_power(s)
{
    powers++;
    printf("store %d: loses power, has %d\n", s, st[s].mem);
    st[s].inc++;
    kept = kept & ~BIT(s);
    lose_connection(0, s);
    lose_connection(1, s)
}

proctype store(byte s)
{
    do
    /* Its machine loses power: what was not flushed is gone (fault model F8, F9)... */
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

    /* Its process dies and comes back: nothing that was completed is lost (S1). */
    :: d_step {
        restarts < RESTARTS ->
        restarts++;
        printf("store %d: process restarts\n", s);
        lose_connection(0, s);
        lose_connection(1, s);
#ifdef BUG_RESTART_FORGETS_LEASE
        st[s].young = 1;
#endif
        lose_epoch(s)
       }
    od
}

init
{
    atomic {
        st[0].epoch = 1; st[1].epoch = 1; st[2].epoch = 1;
        en[0].op = NONE;
        en[0].state = SERVING;
        en[0].epoch = 1;
        en[0].set = ALL;
        en[0].conn[0] = 1; en[0].conn[1] = 1; en[0].conn[2] = 1;
        en[1].op = NONE;
        run engine(0); run engine(1);
        run link(0, 0); run link(0, 1); run link(0, 2);
        run link(1, 0); run link(1, 1); run link(1, 2);
        run store(0); run store(1); run store(2)
    }
}
