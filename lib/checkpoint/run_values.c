/* What a run that goes on has in common with the one that was saved: options by name, as texts. A
 * value has one text, and no other value has it, so texts are compared. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/glob.h"
#include "base/number.h"
#include "checkpoint/checkpoint_core.h"

void tlmi_values_add_text(tlmi_values_t *values, const char *prefix, const char *name,
                          const char *text)
{
    tlmi_value_t *value = &values->items[values->n++];

    snprintf(value->name, sizeof(value->name), "%s%s", prefix, name);
    snprintf(value->text, sizeof(value->text), "%s", text);
}

void tlmi_values_add_count(tlmi_values_t *values, const char *prefix, const char *name,
                           uint64_t count)
{
    char text[TLMI_NUMBER_SIZE];

    snprintf(text, sizeof(text), "%" PRIu64, count);
    tlmi_values_add_text(values, prefix, name, text);
}

void tlmi_values_add_number(tlmi_values_t *values, const char *prefix, const char *name,
                            double number)
{
    char text[TLMI_NUMBER_SIZE];
    int digits = 6;

    /* The shortest that no other double has. */
    while (tlmi_parse_number(tlmi_number_text(text, number, digits)) != number && digits < 17)
        digits++;
    tlmi_values_add_text(values, prefix, name, text);
}

void tlmi_values_add_schedule(tlmi_values_t *values, const char *prefix,
                              const tlm_schedule_options_t *schedule)
{
    if (schedule == NULL) {
        tlmi_values_add_text(values, prefix, "kind", "none");
        return;
    }
    const bool falls = schedule->kind != TLM_SCHEDULE_CONSTANT;
    tlmi_values_add_text(values, prefix, "kind", tlmi_schedule_kinds[schedule->kind]);
    tlmi_values_add_number(values, prefix, "max_learning_rate", schedule->max_learning_rate);
    if (falls)
        tlmi_values_add_number(values, prefix, "min_learning_rate", schedule->min_learning_rate);
    tlmi_values_add_count(values, prefix, "warmup_steps", schedule->warmup_steps);
    if (falls)
        tlmi_values_add_count(values, prefix, "total_steps", schedule->total_steps);
    if (schedule->kind == TLM_SCHEDULE_WSD)
        tlmi_values_add_count(values, prefix, "decay_steps", schedule->decay_steps);
}

bool tlmi_may_change(const char *changes, const char *name)
{
    const char *entry;
    size_t size;

    while (changes != NULL && tlmi_list_next(&entry, &size, &changes))
        if (tlmi_glob(entry, size, name, strlen(name)))
            return true;
    return false;
}

tlm_status_t tlmi_value_compare(const tlmi_value_t *own, const char *file, const char *changes,
                                const char *path, const char *of)
{
    if (strcmp(own->text, file) == 0 || tlmi_may_change(changes, own->name))
        return TLM_OK;
    return tlmi_fail(TLM_ERR_STATE,
                     "%s: %s%s is %.40s in the checkpoint, but %s here, and resume_changes does "
                     "not name it",
                     path, own->name, of, file, own->text);
}

tlm_status_t tlmi_values_compare(const tlmi_values_t *own, const tlmi_values_t *file,
                                 const char *changes, const char *path, const char *of)
{
    for (size_t i = 0; i < own->n; i++)
        for (size_t k = 0; k < file->n; k++)
            if (strcmp(own->items[i].name, file->items[k].name) == 0)
                TLMI_TRY(
                    tlmi_value_compare(&own->items[i], file->items[k].text, changes, path, of));
    return TLM_OK;
}
