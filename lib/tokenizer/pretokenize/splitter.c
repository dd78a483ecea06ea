/* What splitters share: the pieces that they make. */
#include <string.h>

#include "base/error.h"
#include "base/memory.h"
#include "tokenizer/pretokenize/pretokenize.h"

#define MANY ((size_t)1 << 18) /* bytes of pieces that are handed on together */

void tlmi_splitter_free(tlmi_splitter_t *splitter)
{
    if (splitter == NULL)
        return;
    if (splitter->kind->free != NULL)
        splitter->kind->free(splitter);
    tlmi_free(splitter);
}

tlm_status_t tlmi_text_pieces_add(tlmi_text_pieces_t *pieces, const uint8_t *text, size_t size,
                                  bool at_origin)
{
    if (size == 0)
        return TLM_OK;
    size_t room;
    if (!tlmi_add_size(&room, pieces->size, size))
        return tlmi_fail_memory(size, "pieces of a text");
    if (pieces->n == pieces->ends_capacity &&
        !tlmi_grow(&pieces->ends, &pieces->ends_capacity, pieces->n + 1, sizeof(*pieces->ends),
                   "pieces of a text"))
        return TLM_ERR_OUT_OF_MEMORY;
    if (pieces->n == 0)
        pieces->first_at_origin = at_origin;
    if (!pieces->are_cuts) {
        if (room > pieces->capacity &&
            !tlmi_grow(&pieces->own, &pieces->capacity, room, 1, "pieces of a text"))
            return TLM_ERR_OUT_OF_MEMORY;
        memcpy(pieces->own + pieces->size, text, size);
        pieces->text = pieces->own;
    }
    pieces->size = room;
    pieces->ends[pieces->n++] = room;
    return room >= MANY && pieces->hand_on != NULL ? pieces->hand_on(pieces) : TLM_OK;
}

/* ---- Behaviors ---- */

static tlm_status_t emit(tlmi_piece_maker_t *maker)
{
    size_t start = maker->start;

    if (!maker->is_held)
        return TLM_OK;
    maker->is_held = false;
    return tlmi_text_pieces_add(maker->out, maker->text + start, maker->end - start,
                                maker->at_origin && start == 0);
}

/* Whether a part joins the one that is held. An empty match is a match like any other. */
static bool joins(const tlmi_piece_maker_t *maker, bool is_match)
{
    switch (maker->behavior) {
    case TLMI_SPLIT_MERGED_WITH_PREVIOUS:
        return is_match && !maker->last_matched;
    case TLMI_SPLIT_MERGED_WITH_NEXT:
        return !is_match && maker->last_matched;
    case TLMI_SPLIT_CONTIGUOUS:
        return is_match == maker->last_matched;
    default:
        return false;
    }
}

tlm_status_t tlmi_piece_maker_take(tlmi_piece_maker_t *maker, size_t start, size_t end,
                                   bool is_match)
{
    tlm_status_t status = TLM_OK;

    is_match = is_match != maker->invert;
    if (maker->is_held && joins(maker, is_match)) {
        maker->end = end;
    } else {
        status = emit(maker);
        maker->start = start;
        maker->end = end;
        maker->is_held = !is_match || maker->behavior != TLMI_SPLIT_REMOVED;
    }
    maker->last_matched = is_match;
    return status;
}

tlm_status_t tlmi_piece_maker_finish(tlmi_piece_maker_t *maker)
{
    return emit(maker);
}
