/* SPDX-License-Identifier: Apache-2.0 */
/* Options of every command that runs a reactor. */
#include <string.h>

#include "cmd/cli.h"
#include "io/uring.h"

#define SPIN_US_MAX 1000000

bool cli_spin(struct cli_args *args, uint64_t *out_ns)
{
    uint64_t us;

    if (strcmp(args->value, "off") == 0) {
        *out_ns = URING_SPIN_OFF;
        return true;
    }
    if (strcmp(args->value, "auto") == 0) {
        *out_ns = URING_SPIN_AUTO;
        return true;
    }
    if (!cli_number(args, "spin", 0, SPIN_US_MAX, &us))
        return false;
    *out_ns = us * NS_PER_US;
    return true;
}

bool cli_io_features(struct cli_args *args, uint64_t *out_mask)
{
    uint64_t features;

    if (status_ok(uring_features_parse(args->value, &features))) {
        *out_mask = URING_FEATURES_ALL & ~features;
        return true;
    }
    (void)cli_usage(args,
                    "--io-features is all, none, a kernel's version such as 5.14, or names of %s, "
                    "not '%s'",
                    uring_features_format(URING_FEATURES_ALL).s, args->value);
    return false;
}
