/* SPDX-License-Identifier: Apache-2.0 */
#include "cmd/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/span.h"

#define BAR     40
#define TELL_MS 10000u

void progress_init(struct progress *p)
{
    *p = (struct progress) { .is_terminal = isatty(STDERR_FILENO) == 1 };
}

static void print_bar(double part, const char *text)
{
    const size_t filled = min_u64((uint64_t)(part * BAR), BAR);
    char bar[BAR + 1];

    memset(bar, '.', BAR);
    memset(bar, '#', filled);
    bar[BAR] = '\0';
    fprintf(stderr, "\r[%s] %5.1f%%  %s \033[K", bar, 100 * part, text);
}

void progress_tell(struct progress *p, unsigned after_ms, double part, const char *text)
{
    p->untold_ms += after_ms;
    if (p->is_terminal && part >= 0) {
        print_bar(part, text);
        p->has_line = true;
    } else if (p->untold_ms >= TELL_MS) {
        progress_end(p);
        fprintf(stderr, "trilith: %s\n", text);
        p->untold_ms = 0;
    }
}

void progress_end(struct progress *p)
{
    if (p->has_line)
        fprintf(stderr, "\r\033[K");
    p->has_line = false;
}
