/* SPDX-License-Identifier: Apache-2.0 */
/* Rows as a table or as JSON. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/size.h"
#include "cmd/cli.h"

#define COLUMNS_MAX 16
#define CELL_BYTES  512

struct cell {
    char s[CELL_BYTES];
};

/* Items that do not fit are left out whole: a number without its last digits would be another. */
static struct cell list_text(const json_t *list)
{
    struct cell c = { "" };
    size_t at = 0;
    size_t index;
    json_t *item;

    json_array_foreach(list, index, item)
    {
        const char *const comma = index == 0 ? "" : ", ";
        const char *const text = json_string_value(item);
        if (at + strlen(comma) + strlen(text) >= sizeof c.s - sizeof ", ...") {
            snprintf(c.s + at, sizeof c.s - at, "%s...", comma);
            break;
        }
        at += (size_t)snprintf(c.s + at, sizeof c.s - at, "%s%s", comma, text);
    }
    return c;
}

/* What a table shows of one member; "-" where there is nothing. */
static struct cell cell_text(const json_t *row, const struct cli_column *column)
{
    const json_t *value = json_object_get(row, column->key);
    struct cell c = { "" };

    if (json_is_integer(value) && column->kind == CLI_KIND_SIZE)
        snprintf(c.s, sizeof c.s, "%s", size_format((uint64_t)json_integer_value(value)).s);
    else if (json_is_integer(value))
        snprintf(c.s, sizeof c.s, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        snprintf(c.s, sizeof c.s, "%.2f", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(c.s, sizeof c.s, "%s", json_is_true(value) ? "yes" : "no");
    else if (json_is_string(value))
        snprintf(c.s, sizeof c.s, "%s", json_string_value(value));
    else if (json_is_array(value))
        c = list_text(value);
    if (c.s[0] == '\0')
        snprintf(c.s, sizeof c.s, "-");
    return c;
}

static bool aligned_right(const struct cli_column *column)
{
    return column->kind == CLI_KIND_SIZE || column->kind == CLI_KIND_COUNT;
}

static void print_cell(const struct cli_column *column, const char *text, size_t width, bool last)
{
    const int columns = (int)width;
    if (aligned_right(column))
        printf("%*s%s", columns, text, last ? "\n" : "  ");
    else if (last)
        printf("%s\n", text);
    else
        printf("%-*s  ", columns, text);
}

static void print_json(const json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    printf("\n");
}

void cli_print_rows(enum cli_format format, const json_t *rows, const struct cli_column *columns,
                    unsigned count)
{
    size_t widths[COLUMNS_MAX] = { 0 };
    size_t index;
    json_t *row;

    assert(count > 0 && count <= COLUMNS_MAX);
    if (format == CLI_FORMAT_JSON) {
        print_json(rows);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        widths[i] = strlen(columns[i].header);
        json_array_foreach(rows, index, row)
        {
            const size_t bytes = strlen(cell_text(row, &columns[i]).s);
            widths[i] = bytes > widths[i] ? bytes : widths[i];
        }
    }
    for (unsigned i = 0; i < count; i++)
        print_cell(&columns[i], columns[i].header, widths[i], i + 1 == count);
    json_array_foreach(rows, index, row)
    {
        for (unsigned i = 0; i < count; i++)
            print_cell(&columns[i], cell_text(row, &columns[i]).s, widths[i], i + 1 == count);
    }
}

void cli_print_record(enum cli_format format, const json_t *record,
                      const struct cli_column *columns, unsigned count)
{
    size_t width = 0;

    if (format == CLI_FORMAT_JSON) {
        print_json(record);
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        const size_t bytes = strlen(columns[i].header);
        width = bytes > width ? bytes : width;
    }
    for (unsigned i = 0; i < count; i++)
        printf("%s:%*s %s\n", columns[i].header, (int)(width - strlen(columns[i].header)), "",
               cell_text(record, &columns[i]).s);
}
