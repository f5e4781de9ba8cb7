/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a command that takes long is, on standard error: a bar on a terminal, otherwise a line
 * from time to time.
 *
 * Threading: the main thread.   Memory: a value.
 */
#ifndef CMD_PROGRESS_H
#define CMD_PROGRESS_H

#include <stdbool.h>

struct progress {
    bool is_terminal;
    bool has_line;      /* The terminal's line has a bar. */
    unsigned untold_ms; /* Since a line was printed. */
};

void progress_init(struct progress *p);

/*
 * after_ms have passed since the last call.  part is from 0 to 1, and stands before the text; a
 * negative one is not known, and there is no bar.  The text, of up to 160 bytes, is all that is
 * printed where there is no terminal.
 */
void progress_tell(struct progress *p, unsigned after_ms, double part, const char *text);

/* Before anything else is printed, and at the end: takes the bar away. */
void progress_end(struct progress *p);

#endif
