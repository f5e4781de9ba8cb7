/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deliberate bugs, one for each rule that the simulator must be able to catch.
 *
 *     if (all_durable || MUTATION(S1_FLUSH_EARLY))
 *         flush_complete(...);
 *
 * In every build but the simulator's own (TRILITH_MUTATIONS), MUTATION() is the constant 0 and
 * the compiler drops it.  tests/sim proves for each entry that some seed finds it.
 */
#ifndef BASE_MUTATION_H
#define BASE_MUTATION_H

/* X(name, the rule it breaks, what it does). */
#define MUTATION_TABLE(X)                                                                 \
    X(W1_LENGTH_UNCHECKED, "W1", "a PDU's length is not checked against its limit")       \
    X(W3_NO_DRAIN, "W3", "a host's new association does not wait for the old one")        \
    X(S1_FLUSH_CLEAN_LEG, "S1", "the engine takes every disk for flushed, and asks none") \
    X(R8_OVERLAP, "R8", "commands that overlap are let through to the store together")

enum mutation {
    MUTATION_NONE,
#define MUTATION_ENUM(name, rule, text) MUTATION_##name,
    MUTATION_TABLE(MUTATION_ENUM)
#undef MUTATION_ENUM
        MUTATION_COUNT
};

#ifdef TRILITH_MUTATIONS
extern enum mutation mutation_active; /* Defined and set by the simulator's main(). */
#define MUTATION(name) __builtin_expect(mutation_active == MUTATION_##name, 0)
#else
#define MUTATION(name) 0
#endif

#endif
