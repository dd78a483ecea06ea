/* Expands the templates of story_templates.h. A story draws its people, things and places once, so that
 * they stay the same from its first sentence to its last. */
#include "support/story_generator.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "support/cli.h"
#include "support/story_templates.h"

#define COUNT(array)       (sizeof(array) / sizeof((array)[0]))
#define PICK(story, array) ((array)[draw((story), COUNT(array))])

typedef struct slot {
    const char *name;
    const char *value;
} slot_t;

enum { MAX_SLOTS = 40, KIND_SIZE = 40 };

typedef struct story {
    char *out;
    size_t capacity, size;
    uint64_t seed, index, drawn; /* drawn: random words used so far */
    slot_t slots[MAX_SLOTS];
    size_t num_slots;
    char hero[KIND_SIZE], friend_kind[KIND_SIZE]; /* "little girl" */
} story_t;

/* A number below n. */
static size_t draw(story_t *story, size_t n)
{
    uint64_t bits;

    cli_check(tlm_random_bits(&bits, 1, story->seed, story->index, story->drawn++));
    return (size_t)((bits >> 32) * n >> 32);
}

static void set(story_t *story, const char *name, const char *value)
{
    if (story->num_slots == MAX_SLOTS)
        cli_fail("a story has more than %d slots", MAX_SLOTS);
    story->slots[story->num_slots++] = (slot_t){name, value};
}

static const char *get(const story_t *story, const char *name, size_t size)
{
    for (size_t i = 0; i < story->num_slots; i++) {
        const char *known = story->slots[i].name;

        if (strlen(known) == size && tolower((unsigned char)name[0]) == known[0] &&
            strncmp(known + 1, name + 1, size - 1) == 0)
            return story->slots[i].value;
    }
    cli_fail("a story template has no slot {%.*s}", (int)size, name);
}

static void put(story_t *story, const char *text, size_t size)
{
    if (size > story->capacity - story->size)
        cli_fail("a story is longer than %zu bytes", story->capacity);
    memcpy(story->out + story->size, text, size);
    story->size += size;
}

/* {slot}, {Slot}, {a slot} or {A slot}, without its braces. */
static void put_slot(story_t *story, const char *text, size_t size)
{
    const char *value;
    char first;

    if (size > 2 && tolower((unsigned char)text[0]) == 'a' && text[1] == ' ') {
        value = get(story, text + 2, size - 2);
        put(story, text, 1);
        put(story, strchr("aeiou", value[0]) != NULL ? "n " : " ",
            strchr("aeiou", value[0]) != NULL ? 2 : 1);
        put(story, value, strlen(value));
        return;
    }
    value = get(story, text, size);
    first = isupper((unsigned char)text[0]) ? (char)toupper((unsigned char)value[0]) : value[0];
    put(story, &first, 1);
    put(story, value + 1, strlen(value) - 1);
}

/* The end of the part that begins at `text`: the next '|' or ']' that is not in a nested [...]. */
static const char *part_end(const char *text)
{
    int depth = 0;

    for (;; text++) {
        if (*text == '\0')
            cli_fail("a story template has a '[' without its ']'");
        if (depth == 0 && (*text == '|' || *text == ']'))
            return text;
        depth += (*text == '[') - (*text == ']');
    }
}

static void expand(story_t *story, const char *text, const char *end);

/* [one|two]: `text` is just after the '['. Returns the place after the ']'. */
static const char *expand_choice(story_t *story, const char *text)
{
    const char *end = part_end(text), *chosen = text;
    size_t parts = 1, choice;

    for (; *end == '|'; parts++)
        end = part_end(end + 1);
    choice = draw(story, parts);
    for (size_t i = 0; i < choice; i++)
        chosen = part_end(chosen) + 1;
    expand(story, chosen, part_end(chosen));
    return end + 1;
}

static void expand(story_t *story, const char *text, const char *end)
{
    while (text < end) {
        if (*text == '[') {
            text = expand_choice(story, text + 1);
        } else if (*text == '{') {
            const char *close = strchr(text, '}');

            if (close == NULL)
                cli_fail("a story template has a '{' without its '}'");
            put_slot(story, text + 1, (size_t)(close - text - 1));
            text = close + 1;
        } else {
            size_t n = strcspn(text, "[{");

            n = n < (size_t)(end - text) ? n : (size_t)(end - text);
            put(story, text, n);
            text += n;
        }
    }
}

/* "little girl", "fluffy rabbit"; returns the noun alone. */
static const char *describe(story_t *story, char kind[KIND_SIZE], bool is_girl, size_t animal_odds)
{
    const char *noun = is_girl ? "girl" : "boy", *look = "little";

    if (draw(story, 10) < animal_odds) {
        noun = PICK(story, animals);
        look = PICK(story, looks);
    }
    snprintf(kind, KIND_SIZE, "%s %s", look, noun);
    return noun;
}

static void set_people(story_t *story)
{
    bool hero_is_girl = draw(story, 2) == 0, friend_is_girl = draw(story, 2) == 0;
    bool elder_is_woman = draw(story, 3) > 0;
    size_t hero = draw(story, COUNT(girl_names)), other = draw(story, COUNT(girl_names) - 1);

    _Static_assert(COUNT(girl_names) == COUNT(boy_names), "one index serves both");
    other += other >= hero; /* so that two of a kind have two names */
    set(story, "name", hero_is_girl ? girl_names[hero] : boy_names[hero]);
    set(story, "he", hero_is_girl ? "she" : "he");
    set(story, "him", hero_is_girl ? "her" : "him");
    set(story, "his", hero_is_girl ? "her" : "his");
    describe(story, story->hero, hero_is_girl, 4);
    set(story, "hero", story->hero);
    set(story, "friend", friend_is_girl ? girl_names[other] : boy_names[other]);
    set(story, "fhe", friend_is_girl ? "she" : "he");
    set(story, "fanimal", describe(story, story->friend_kind, friend_is_girl, 7));
    set(story, "fkind", story->friend_kind);
    set(story, "elder", elder_is_woman ? PICK(story, women) : PICK(story, men));
    set(story, "ehe", elder_is_woman ? "she" : "he");
    set(story, "felder", draw(story, 2) == 0 ? PICK(story, women) : PICK(story, men));
}

static void set_things(story_t *story)
{
    size_t color = draw(story, COUNT(colors)), other = draw(story, COUNT(colors) - 1);

    set(story, "color", colors[color]);
    set(story, "color2", colors[other + (other >= color)]);
    set(story, "trait", PICK(story, traits));
    set(story, "thing", PICK(story, things));
    set(story, "find", PICK(story, finds));
    set(story, "place", PICK(story, places));
    set(story, "food", PICK(story, foods));
    set(story, "skill", PICK(story, skills));
    set(story, "hobby", PICK(story, hobbies));
    set(story, "weather", PICK(story, weathers));
    set(story, "animal", PICK(story, animals));
    set(story, "creature", PICK(story, creatures));
}

static void put_template(story_t *story, const char *text)
{
    expand(story, text, text + strlen(text));
}

size_t story_write(char *out, size_t capacity, uint64_t seed, uint64_t index)
{
    story_t story = {.out = out, .capacity = capacity, .seed = seed, .index = index};
    const plot_t *plot;

    set_people(&story);
    set_things(&story);
    plot = &PICK(&story, plots);
    set(&story, "moral", plot->moral);
    put_template(&story, PICK(&story, openings));
    put_template(&story, plot->text);
    put_template(&story, PICK(&story, endings));
    return story.size;
}
