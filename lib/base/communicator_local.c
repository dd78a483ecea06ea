/* Ranks that are threads of one process. A rank that sends leaves the address of its data in a box
 * of the receiver and waits until that has copied it, so nothing is buffered. */
#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#include "base/communicator.h"
#include "base/error.h"
#include "base/memory.h"

enum { MAX_RANKS = 1024 };

typedef struct box {
    const void *data;
    size_t bytes;
    bool is_full;
} box_t;

typedef struct group {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    int32_t num_ranks, num_left;
    bool *has_left; /* (num_ranks): the communicator was freed */
    box_t *boxes;   /* (receiver, sender) */
} group_t;

typedef struct member {
    group_t *group;
    int32_t rank;
} member_t;

static void group_free(group_t *group)
{
    pthread_cond_destroy(&group->changed);
    pthread_mutex_destroy(&group->lock);
    tlmi_free(group->boxes);
    tlmi_free(group->has_left);
    tlmi_free(group);
}

static box_t *box_of(group_t *group, int32_t receiver, int32_t sender)
{
    return &group->boxes[(size_t)receiver * (size_t)group->num_ranks + (size_t)sender];
}

static tlm_status_t fail_left(int32_t rank)
{
    return tlmi_fail(TLM_ERR_STATE, "rank %" PRId32 " has left the group", rank);
}

/* Takes what `from` has sent, once it is there. The lock is held. */
static tlm_status_t take(member_t *member, void *receive, size_t bytes, int32_t from)
{
    group_t *group = member->group;
    box_t *box = box_of(group, member->rank, from);

    while (!box->is_full && !group->has_left[from])
        pthread_cond_wait(&group->changed, &group->lock);
    if (!box->is_full)
        return fail_left(from);
    if (box->bytes != bytes)
        return tlmi_fail(TLM_ERR_STATE, "rank %" PRId32 " sent %zu bytes, but %zu are expected",
                         from, box->bytes, bytes);
    if (bytes > 0)
        memcpy(receive, box->data, bytes);
    box->is_full = false;
    pthread_cond_broadcast(&group->changed);
    return TLM_OK;
}

static tlm_status_t exchange(void *user, void *receive, size_t receive_bytes, int32_t from,
                             const void *send, size_t send_bytes, int32_t to)
{
    member_t *member = user;
    group_t *group = member->group;
    tlm_status_t status = TLM_OK;
    box_t *sent = to == TLM_NO_RANK ? NULL : box_of(group, to, member->rank);

    pthread_mutex_lock(&group->lock);
    if (sent != NULL) {
        *sent = (box_t){send, send_bytes, true};
        pthread_cond_broadcast(&group->changed);
    }
    if (from != TLM_NO_RANK)
        status = take(member, receive, receive_bytes, from);
    while (status == TLM_OK && sent != NULL && sent->is_full && !group->has_left[to])
        pthread_cond_wait(&group->changed, &group->lock);
    if (status == TLM_OK && sent != NULL && sent->is_full)
        status = fail_left(to);
    if (sent != NULL)
        sent->is_full = false; /* after a failure the caller's data may go */
    pthread_mutex_unlock(&group->lock);
    return status;
}

/* The last one to leave frees the group. */
static void leave(void *user)
{
    member_t *member = user;
    group_t *group = member->group;

    pthread_mutex_lock(&group->lock);
    group->has_left[member->rank] = true;
    bool is_last = ++group->num_left == group->num_ranks;
    pthread_cond_broadcast(&group->changed);
    pthread_mutex_unlock(&group->lock);
    if (is_last)
        group_free(group);
    tlmi_free(member);
}

static tlm_status_t group_create(group_t **out, int32_t n)
{
    group_t *group = tlmi_calloc(1, sizeof(*group), "a group of ranks");

    if (group == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    pthread_mutex_init(&group->lock, NULL);
    pthread_cond_init(&group->changed, NULL);
    group->num_ranks = n;
    group->has_left = tlmi_calloc((size_t)n, sizeof(bool), "a group of ranks");
    group->boxes = tlmi_calloc((size_t)n * (size_t)n, sizeof(box_t), "a group of ranks");
    if (group->has_left == NULL || group->boxes == NULL) {
        group_free(group);
        return TLM_ERR_OUT_OF_MEMORY;
    }
    *out = group;
    return TLM_OK;
}

static tlm_status_t join(tlm_communicator_t **out, group_t *group, int32_t rank)
{
    tlm_communicator_options_t options = TLM_COMMUNICATOR_OPTIONS_INIT;
    member_t *member = tlmi_calloc(1, sizeof(*member), "a rank");

    if (member == NULL)
        return TLM_ERR_OUT_OF_MEMORY;
    member->group = group;
    member->rank = rank;
    options.rank = rank;
    options.num_ranks = group->num_ranks;
    options.user = member;
    options.exchange = exchange;
    options.release = leave;
    options.any_thread = true;
    tlm_status_t status = tlm_communicator_create(out, &options);
    if (status != TLM_OK)
        tlmi_free(member);
    return status;
}

tlm_status_t tlm_communicator_create_local(tlm_communicator_t **out, int32_t n)
{
    TLMI_REQUIRE("communicator_create_local", out);
    if (n < 1 || n > MAX_RANKS)
        return tlmi_fail(TLM_ERR_INVALID_ARGUMENT,
                         "communicator_create_local: n %" PRId32 " is not in 1 .. %d", n,
                         MAX_RANKS);
    tlm_communicator_t *made[MAX_RANKS];
    group_t *group;
    TLMI_TRY(group_create(&group, n));
    for (int32_t rank = 0; rank < n; rank++) {
        tlm_status_t status = join(&made[rank], group, rank);

        if (status != TLM_OK) {
            group->num_left = n - rank; /* the rest never joined */
            for (int32_t i = 0; i < rank; i++)
                tlm_communicator_free(made[i]);
            if (rank == 0)
                group_free(group);
            return status;
        }
    }
    memcpy(out, made, (size_t)n * sizeof(made[0]));
    return TLM_OK;
}
