/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVMe Qualified Names: what one looks like, and how a volume's name becomes one and back.
 *
 *   nqn.2026-01.io.trilith:volume:db1        the subsystem of volume 'db1'
 *   nqn.2014-08.org.nvmexpress.discovery     the well-known discovery subsystem
 *
 * NVM Express Base Specification 2.0, "NVMe Qualified Names".
 *
 * Threading: pure.   Memory: values.
 */
#ifndef NVME_NQN_H
#define NVME_NQN_H

#include <stdbool.h>

#include "base/status.h"

#define NQN_BYTES_MAX         223 /* Without the terminating zero; the specification's. */
#define NQN_TEXT_BYTES        (NQN_BYTES_MAX + 1) /* With it. */

#define NQN_DISCOVERY         "nqn.2014-08.org.nvmexpress.discovery"
#define NQN_VOLUME_PREFIX     "nqn.2026-01.io.trilith:volume:"

#define VOLUME_NAME_BYTES_MAX 63 /* A DNS label, so that names can become host names. */
#define VOLUME_NAME_RULE \
    "1 to 63 characters, each a-z, 0-9, '.' or '-', the first a letter or a digit"

struct nqn_text {
    char s[NQN_TEXT_BYTES];
};

struct volume_name {
    char s[VOLUME_NAME_BYTES_MAX + 1];
};

/*
 * Whether text is a well-formed NQN: "nqn.YYYY-MM." and a reverse domain, at most NQN_BYTES_MAX
 * printable ASCII characters without spaces.  (The specification allows UTF-8; Linux sends ASCII.)
 */
bool nqn_is_valid(const char *text);

/* Whether name can be a volume's: VOLUME_NAME_RULE. */
bool volume_name_is_valid(const char *name);

/* The NQN of the subsystem of the volume of this name.  INVALID if the name breaks the rule. */
struct status nqn_for_volume(const char *name, struct nqn_text *out_nqn) MUST_CHECK;

/* The name in the NQN of a volume's subsystem.  NOT_FOUND if it is the NQN of anything else. */
struct status nqn_parse_volume(const char *nqn, struct volume_name *out_name) MUST_CHECK;

#endif
