/* SPDX-License-Identifier: Apache-2.0 */
/* Records of groups as messages. */
#include "rpc/group_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct arena arena;
static struct group was, got;
static struct group_reason reason;

/* As many copysets as there can be: in, out, and in turn whole or unused. */
static int setup(void **state)
{
    (void)state;
    was = (struct group) { .epoch = 7,
                           .owner = { { 0xa } },
                           .generation = 3,
                           .sequence = UINT64_MAX,
                           .loss = true,
                           .copyset_count = GROUP_COPYSETS_MAX };
    for (unsigned i = 0; i < GROUP_COPYSETS_MAX; i++) {
        struct group_slot *s = was.copysets[i].slots;
        s[0] = (struct group_slot) { .state = GROUP_SLOT_IN,
                                     .disk = { { 1, (uint8_t)i } },
                                     .incarnation = i + 1 };
        s[1] = (struct group_slot) { .state = GROUP_SLOT_OUT,
                                     .disk = { { 2, (uint8_t)i } },
                                     .since_unix_ms = i };
        if (i % 2 == 0)
            s[2] = (struct group_slot) { .state = GROUP_SLOT_OUT,
                                         .disk = { { 3, (uint8_t)i } },
                                         .whole = true };
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_free(&arena);
    return 0;
}

/* What is sent is what arrives, whatever it is. */
static void round_trip(void **state)
{
    (void)state;
    assert_true(status_ok(group_from_message(group_to_message(&was, &arena), &got, &reason)));
    assert_true(group_equal(&got, &was));
    was = (struct group) { .epoch = 1 };
    assert_true(status_ok(group_from_message(group_to_message(&was, &arena), &got, &reason)));
    assert_true(group_equal(&got, &was));
}

static void refused(const Trilith__V1__GroupRecord *m, const char *text)
{
    assert_true(status_is(group_from_message(m, &got, &reason), STATUS_INVALID));
    assert_string_equal(reason.s, text);
}

/* W1: what cannot be is refused, with what is wrong. */
static void refusals(void **state)
{
    Trilith__V1__GroupRecord *m = group_to_message(&was, &arena);
    Trilith__V1__GroupCopyset *more[GROUP_COPYSETS_MAX + 1];
    Trilith__V1__GroupSlot *slots[4];
    Trilith__V1__GroupCopyset *first = m->copysets[0];

    (void)state;
    refused(NULL, "there is no record");
    for (unsigned i = 0; i <= GROUP_COPYSETS_MAX; i++)
        more[i] = first;
    m->copysets = more;
    m->n_copysets = GROUP_COPYSETS_MAX + 1;
    refused(m, "it has more than 256 copysets");
    m->n_copysets = 1;
    for (unsigned i = 0; i < 4; i++)
        slots[i] = first->slots[i % 3];
    first->slots = slots;
    first->n_slots = 4;
    refused(m, "a copyset has more than three slots");
    first->n_slots = 3;
    slots[2] = slots[1];
    refused(m, "copyset 0: a disk has two slots");
    first->n_slots = 2;
    slots[0]->disk_uuid.len = 17;
    refused(m, "a disk's UUID has not 16 bytes");
    slots[0]->disk_uuid.len = 16;
    slots[1]->disk_uuid.len = 0;
    refused(m, "a slot without a disk is out");
    first->n_slots = 1;
    m->owner_uuid.len = 15;
    refused(m, "its owner's UUID has not 16 bytes");
    m->owner_uuid.len = 16;
    assert_true(status_ok(group_from_message(m, &got, &reason)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
    };
    return cmocka_run_group_tests_name("group_message", tests, NULL, NULL);
}
