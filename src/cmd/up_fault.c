/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/up_fault.h"

#include <stdio.h>

#include "base/size.h"

#define WORD_BYTES 64

static const struct {
    const char *name;
    enum dev_fault_action action;
} fault_actions[] = {
    { "error", DEV_FAULT_ERROR },
    { "delay", DEV_FAULT_DELAY },
    { "lose", DEV_FAULT_LOSE },
    { "rot", DEV_FAULT_ROT },
};

static const struct {
    const char *name;
    unsigned kinds;
} fault_kinds[] = {
    { "reads", DEV_FAULT_READS },
    { "writes", DEV_FAULT_WRITES },
    { "flushes", DEV_FAULT_FLUSHES },
    { "discards", DEV_FAULT_DISCARDS },
};

static struct status take_action(const char *word, struct dev_fault *fault)
{
    for (size_t i = 0; i < ARRAY_COUNT(fault_actions); i++) {
        if (strcmp(word, fault_actions[i].name) != 0)
            continue;
        fault->action = fault_actions[i].action;
        return STATUS(OK);
    }
    return STATUS(INVALID);
}

static struct status take_value(const char *key, const char *value, struct dev_fault *fault)
{
    uint64_t number;

    TRY(size_parse(value, &number));
    if (strcmp(key, "skip") == 0)
        fault->skip = number;
    else if (strcmp(key, "count") == 0)
        fault->count = number;
    else if (strcmp(key, "at") == 0)
        fault->offset = number;
    else if (strcmp(key, "bytes") == 0)
        fault->bytes = number;
    else if (strcmp(key, "us") == 0)
        fault->delay_ns = number * NS_PER_US;
    else
        return STATUS(INVALID);
    return STATUS(OK);
}

static struct status take_word(char *word, struct dev_fault *fault)
{
    char *equals = strchr(word, '=');

    if (equals != NULL) {
        *equals = '\0';
        return take_value(word, equals + 1, fault);
    }
    for (size_t i = 0; i < ARRAY_COUNT(fault_kinds); i++) {
        if (strcmp(word, fault_kinds[i].name) != 0)
            continue;
        fault->kinds |= fault_kinds[i].kinds;
        return STATUS(OK);
    }
    return STATUS(INVALID);
}

struct status up_fault_parse(const char *text, struct dev_fault *out_fault, const char **out_path)
{
    struct dev_fault fault = { .status = STATUS(IO) };
    const char *end = strchr(text, ':');
    bool first = true;

    if (end == NULL || end[1] == '\0')
        return STATUS(INVALID);
    while (text < end) {
        char word[WORD_BYTES];
        const size_t bytes = strcspn(text, ",:");
        if (bytes >= sizeof word)
            return STATUS(INVALID);
        memcpy(word, text, bytes);
        word[bytes] = '\0';
        TRY(first ? take_action(word, &fault) : take_word(word, &fault));
        first = false;
        text += bytes + (text[bytes] == ',' ? 1 : 0);
    }
    if (first)
        return STATUS(INVALID);
    if (fault.kinds == 0)
        fault.kinds = DEV_FAULT_ALL;
    *out_fault = fault;
    *out_path = end + 1;
    return STATUS(OK);
}
