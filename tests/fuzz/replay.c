/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds files, or all files of directories, to a fuzz target once: the corpus as a regression
 * test, without libFuzzer.
 *
 *     corpus_pdu tests/fuzz/corpus/pdu          corpus_pdu crash-1234
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_BYTES_MAX ((size_t)16 << 20) /* Far above what any fuzzer generates. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static unsigned inputs;

static int feed_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    uint8_t *whole = malloc(INPUT_BYTES_MAX);
    const size_t bytes = whole == NULL ? 0 : fread(whole, 1, INPUT_BYTES_MAX, f);
    fclose(f);

    /* Memory of the exact size, so that reading one byte too far is seen. */
    uint8_t *data = malloc(bytes > 0 ? bytes : 1);
    if (whole != NULL && data != NULL) {
        memcpy(data, whole, bytes);
        fprintf(stderr, "%s\n", path);
        (void)LLVMFuzzerTestOneInput(data, bytes);
        inputs++;
    }
    free(data);
    free(whole);
    return 0;
}

static int feed(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        return feed_file(path);

    struct dirent **names = NULL;
    const int count = scandir(path, &names, NULL, alphasort);
    int failures = count < 0;
    for (int i = 0; i < count; i++) {
        char *inside = NULL;
        if (names[i]->d_name[0] != '.' && asprintf(&inside, "%s/%s", path, names[i]->d_name) > 0)
            failures += feed_file(inside);
        free(inside);
        free(names[i]);
    }
    free(names);
    return failures;
}

int main(int argc, char **argv)
{
    int failures = 0;
    for (int i = 1; i < argc; i++)
        failures += feed(argv[i]);
    fprintf(stderr, "%u inputs\n", inputs);
    /* A corpus that is not found would be a test that cannot fail. */
    return failures > 0 || inputs == 0;
}
