/* Optimizers, clipping and learning-rate schedules. */
#ifndef TINYLM_CPP_OPTIMIZER_HPP
#define TINYLM_CPP_OPTIMIZER_HPP

#include "model.hpp"

namespace tinylm
{

TINYLM_DETAIL_OPTIONS(adamw_options, tlm_adamw_options_t, TLM_ADAMW_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(muon_options, tlm_muon_options_t, TLM_MUON_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(lion_options, tlm_lion_options_t, TLM_LION_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(adafactor_options, tlm_adafactor_options_t, TLM_ADAFACTOR_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(group_options, tlm_group_options_t, TLM_GROUP_OPTIONS_INIT)
TINYLM_DETAIL_OPTIONS(schedule_options, tlm_schedule_options_t, TLM_SCHEDULE_OPTIONS_INIT)

/** Parameters that are updated with the same options. */
struct parameter_group {
    std::vector<tensor> tensors;
    group_options options = {};
};

/** AdamW, Muon, Lion, Adafactor or SGD. @since 0.2 */
class optimizer : public detail::handle<tlm_optimizer_t, tlm_optimizer_free>
{
  public:
    using handle::handle;
    static optimizer adamw(const adamw_options &options = {})
    {
        return optimizer(detail::make(tlm_optimizer_create_adamw, &options));
    }
    static optimizer sgd(double learning_rate)
    {
        return optimizer(detail::make(tlm_optimizer_create_sgd, learning_rate));
    }
    void add_group(span<tlm_tensor_t *const> tensors, const group_options &options = {})
    {
        check(tlm_optimizer_add_group(get(), tensors.data(), tensors.size(), &options));
    }
    void add_group(span<const tensor> tensors, const group_options &options = {})
    {
        add_group(detail::pointers(tensors), options);
    }
    /** Several at once: {{{a, b}, options}, {{c}, others}}. */
    void add_groups(span<const parameter_group> groups)
    {
        for (const parameter_group &group : groups)
            add_group(group.tensors, group.options);
    }
    /** Muon for hidden matrices, AdamW with the options `rest` for what else a model has. */
    static optimizer muon(const muon_options &options = {},
                          const tlm_adamw_options_t *rest = nullptr)
    {
        return optimizer(detail::make(tlm_optimizer_create_muon, &options, rest));
    }
    static optimizer lion(const lion_options &options = {})
    {
        return optimizer(detail::make(tlm_optimizer_create_lion, &options));
    }
    static optimizer adafactor(const adafactor_options &options = {})
    {
        return optimizer(detail::make(tlm_optimizer_create_adafactor, &options));
    }
    void add_lion_group(span<tlm_tensor_t *const> tensors, const lion_options &options = {})
    {
        check(tlm_optimizer_add_lion_group(get(), tensors.data(), tensors.size(), &options));
    }
    void add_lion_group(span<const tensor> tensors, const lion_options &options = {})
    {
        add_lion_group(detail::pointers(tensors), options);
    }
    void add_adafactor_group(span<tlm_tensor_t *const> tensors,
                             const adafactor_options &options = {})
    {
        check(tlm_optimizer_add_adafactor_group(get(), tensors.data(), tensors.size(), &options));
    }
    void add_adafactor_group(span<const tensor> tensors, const adafactor_options &options = {})
    {
        add_adafactor_group(detail::pointers(tensors), options);
    }
    /** A group that is updated by AdamW, whatever the optimizer's own kind. */
    void add_adamw_group(span<tlm_tensor_t *const> tensors, const adamw_options &options = {})
    {
        check(tlm_optimizer_add_adamw_group(get(), tensors.data(), tensors.size(), &options));
    }
    void add_adamw_group(span<const tensor> tensors, const adamw_options &options = {})
    {
        add_adamw_group(detail::pointers(tensors), options);
    }
    /** A group that is updated by Muon, whatever the optimizer's own kind. */
    void add_muon_group(span<tlm_tensor_t *const> tensors, const muon_options &options = {})
    {
        check(tlm_optimizer_add_muon_group(get(), tensors.data(), tensors.size(), &options));
    }
    void add_muon_group(span<const tensor> tensors, const muon_options &options = {})
    {
        add_muon_group(detail::pointers(tensors), options);
    }
    /** All parameters of a model, some without weight decay (TLM_NO_DECAY_...). */
    void add_model(const model &of, std::uint32_t no_decay = 0, const group_options &options = {})
    {
        check(tlm_optimizer_add_model(get(), of.get(), no_decay, &options));
    }
    void step()
    {
        check(tlm_optimizer_step(get()));
    }
    void zero_grad() noexcept
    {
        tlm_optimizer_zero_grad(get());
    }
    void set_learning_rate(double rate, std::size_t group = TLM_ALL_GROUPS)
    {
        check(tlm_optimizer_set_learning_rate(get(), group, rate));
    }
    double learning_rate(std::size_t group = 0) const
    {
        return detail::read(tlm_optimizer_learning_rate,
                            static_cast<const tlm_optimizer_t *>(get()), group);
    }
    void set_weight_decay(double decay, std::size_t group = TLM_ALL_GROUPS)
    {
        check(tlm_optimizer_set_weight_decay(get(), group, decay));
    }
    double weight_decay(std::size_t group = 0) const
    {
        return detail::read(tlm_optimizer_weight_decay, static_cast<const tlm_optimizer_t *>(get()),
                            group);
    }
    std::size_t num_groups() const noexcept
    {
        return tlm_optimizer_num_groups(get());
    }
    std::size_t num_parameters() const noexcept
    {
        return tlm_optimizer_num_parameters(get());
    }
    std::uint64_t steps() const noexcept
    {
        return tlm_optimizer_steps(get());
    }
    void set_steps(std::uint64_t steps)
    {
        check(tlm_optimizer_set_steps(get(), steps));
    }
    /** A state buffer ("m", "v") of a parameter, borrowed. */
    span<float> state(std::size_t index, const std::string &name)
    {
        float *values;
        std::size_t n;
        check(tlm_optimizer_state(&values, &n, get(), index, name.c_str()));
        return {values, n};
    }
    /** The name of a parameter's buffer 0, 1, ... */
    const char *state_name(std::size_t index, std::size_t buffer) const
    {
        return detail::read(tlm_optimizer_state_name, static_cast<const tlm_optimizer_t *>(get()),
                            index, buffer);
    }
    const char *kind() const noexcept
    {
        return tlm_optimizer_kind(get());
    }
};

/** Clips all gradients by their joint norm; returns the norm before. */
inline double clip_grad_norm(span<tlm_tensor_t *const> tensors, double max_norm)
{
    return detail::read(tlm_clip_grad_norm, tensors.data(), tensors.size(), max_norm);
}
inline double clip_grad_norm(span<const tensor> tensors, double max_norm)
{
    return clip_grad_norm(detail::pointers(tensors), max_norm);
}

inline double schedule_learning_rate(const schedule_options &options, std::uint64_t step)
{
    return detail::read(tlm_schedule_learning_rate,
                        static_cast<const tlm_schedule_options_t *>(&options), step);
}

} // namespace tinylm

#endif
