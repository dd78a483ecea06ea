/* The ranks of a run. */
#ifndef TINYLM_CPP_COMMUNICATOR_HPP
#define TINYLM_CPP_COMMUNICATOR_HPP

#include "../communicator.h"
#include "base.hpp"

namespace tinylm
{

/** One rank's end of a group of ranks. Options of a BPE trainer, of encode_files and of a trainer take
 *  its get(). That of MPI is made by tlm_communicator_create_mpi (tinylm/mpi.h), and taken over by the
 *  constructor. All functions that exchange data are called by every rank, in the same order.
 *  @since 0.2 */
class communicator : public detail::handle<tlm_communicator_t, tlm_communicator_free>
{
  public:
    using handle::handle;
    /** Over an engine of the program's own; its callbacks must not throw. */
    explicit communicator(const tlm_communicator_options_t &engine)
        : handle(detail::make(tlm_communicator_create, &engine))
    {
    }
    /** The ranks of a group that are threads of this process, one for each thread. */
    static std::vector<communicator> local(std::int32_t num_ranks)
    {
        std::vector<tlm_communicator_t *> made(num_ranks > 0 ? static_cast<std::size_t>(num_ranks)
                                                             : 1);
        check(tlm_communicator_create_local(made.data(), num_ranks));
        std::vector<communicator> ranks;
        ranks.reserve(made.size());
        for (tlm_communicator_t *each : made)
            ranks.emplace_back(each);
        return ranks;
    }
    std::int32_t rank() const noexcept
    {
        return tlm_communicator_rank(get());
    }
    std::int32_t num_ranks() const noexcept
    {
        return tlm_communicator_num_ranks(get());
    }
    /** Spent in the functions below, waiting included. */
    double seconds() const noexcept
    {
        return tlm_communicator_seconds(get());
    }
    /** Sends the values of one container to a rank and receives into another from a rank; TLM_NO_RANK
     *  leaves one of them out. */
    template <typename R, typename S>
    void exchange(R &&receive, std::int32_t from, const S &send, std::int32_t to)
    {
        auto receives = detail::as_span(receive);
        auto sends = detail::as_span(send);
        check(tlm_communicator_exchange(receives.data(), bytes_of(receives), from, get(),
                                        sends.data(), bytes_of(sends), to));
    }
    /** The values of all ranks, one after another; all have as many. */
    template <typename C, typename T = std::remove_const_t<detail::element<const C>>>
    std::vector<T> all_gather(const C &send)
    {
        auto sends = detail::as_span(send);
        const std::size_t ranks = static_cast<std::size_t>(num_ranks());
        const std::vector<std::size_t> bytes(ranks, bytes_of(sends));
        std::vector<T> received(ranks * sends.size());
        check(tlm_communicator_all_gather(received.data(), get(), sends.data(), bytes.data()));
        return received;
    }
    /** Replaces the values by those of rank `root`. */
    template <typename C> void broadcast(C &&values, std::int32_t root = 0)
    {
        auto all = detail::as_span(values);
        check(tlm_communicator_broadcast(all.data(), bytes_of(all), get(), root));
    }
    /** Replaces the values by their sums over all ranks. */
    void all_reduce(span<float> values)
    {
        check(tlm_communicator_all_reduce(values.data(), values.size(), get()));
    }
    void barrier()
    {
        check(tlm_communicator_barrier(get()));
    }
    /** Throws on all ranks if one of them gives another status than TLM_OK. */
    void agree(tlm_status_t status = TLM_OK)
    {
        check(tlm_communicator_agree(get(), status));
    }

  private:
    template <typename T> static std::size_t bytes_of(span<T> values) noexcept
    {
        static_assert(std::is_trivially_copyable_v<T>, "ranks exchange plain values");
        return values.size() * sizeof(T);
    }
};

} // namespace tinylm

#endif
