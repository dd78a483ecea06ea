/* Runs of training steps, and evaluation. */
#ifndef TINYLM_CPP_TRAINER_HPP
#define TINYLM_CPP_TRAINER_HPP

#include "data.hpp"

namespace tinylm
{

struct train_step : tlm_train_step_t {
    train_step() noexcept : tlm_train_step_t(TLM_TRAIN_STEP_INIT)
    {
    }
};

struct evaluation : tlm_evaluation_t {
    evaluation() noexcept : tlm_evaluation_t(TLM_EVALUATION_INIT)
    {
    }
};

/** Mean loss over windows of a data set. A context of 0 is the model's; max_tokens 0: all. */
inline evaluation evaluate(const model &of, const dataset &on, std::int64_t batch,
                           std::int64_t context = 0, std::uint64_t max_tokens = 0)
{
    evaluation found;
    check(tlm_model_evaluate(&found, of.get(), on.get(), batch, context, max_tokens));
    return found;
}

struct trainer_options {
    std::uint64_t steps = 0;
    std::optional<schedule_options> schedule;
    double clip_norm = 0.0;
    std::uint64_t accumulation = 0;
    const tlm_dataset_t *valid = nullptr; /* borrowed by the trainer */
    std::uint64_t eval_every = 0;
    std::uint64_t eval_tokens = 0;
    std::string checkpoint_path; /* empty: none */
    std::uint64_t save_every = 0;
    const tlm_tokenizer_t *tokenizer = nullptr; /* stored in checkpoints; borrowed by the trainer */
    double peak_flops = 0.0;
    bool activation_checkpointing = false;
    bool save_on_cancel = false;
    std::string checkpoint_dir;                 /* instead of checkpoint_path; empty: none */
    std::int32_t keep_last = 0;                 /* checkpoints in it; 0: all */
    tlm_communicator_t *communicator = nullptr; /* whose ranks share each step; borrowed too */
    bool irreproducible = false;
    std::int32_t products = TLM_PRODUCTS_FLOAT32;
    double average_decay = 0.0;            /* 0: no averages */
    std::int64_t batch_start = 0;          /* rows of a batch at first; 0: no warm-up */
    std::int64_t batch_increment = 0;      /* 0: 1 */
    std::uint64_t batch_warmup_steps = 0;  /* either these */
    std::uint64_t batch_warmup_tokens = 0; /* or these */
    std::string resume_changes;            /* options that resume() may find changed */
    callback<const tlm_train_step_t &> on_step;
    callback<const tlm_evaluation_t &> on_evaluation;
    callback<const char *, std::uint64_t> on_save; /* path, step */
};

/** Training steps over a model, an optimizer and a loader, which must outlive it. @since 0.2 */
class trainer
{
  public:
    trainer(const model &of, const optimizer &by, const loader &from,
            const trainer_options &options)
        : state_(new state{options.on_step, options.on_evaluation, options.on_save, {}})
    {
        tlm_trainer_options_t c = TLM_TRAINER_OPTIONS_INIT;
        c.steps = options.steps;
        c.schedule = options.schedule ? &*options.schedule : nullptr;
        c.clip_norm = options.clip_norm;
        c.accumulation = options.accumulation;
        c.valid = options.valid;
        c.eval_every = options.eval_every;
        c.eval_tokens = options.eval_tokens;
        c.checkpoint_path = detail::or_null(options.checkpoint_path);
        c.save_every = options.save_every;
        c.tokenizer = options.tokenizer;
        c.peak_flops = options.peak_flops;
        c.activation_checkpointing = options.activation_checkpointing;
        c.save_on_cancel = options.save_on_cancel;
        c.checkpoint_dir = detail::or_null(options.checkpoint_dir);
        c.keep_last = options.keep_last;
        c.communicator = options.communicator;
        c.irreproducible = options.irreproducible;
        c.products = options.products;
        c.average_decay = options.average_decay;
        c.batch_start = options.batch_start;
        c.batch_increment = options.batch_increment;
        c.batch_warmup_steps = options.batch_warmup_steps;
        c.batch_warmup_tokens = options.batch_warmup_tokens;
        c.resume_changes = detail::or_null(options.resume_changes);
        c.on_step = state_->on_step ? step_called : nullptr;
        c.on_evaluation = state_->on_evaluation ? evaluation_called : nullptr;
        c.on_save = state_->on_save ? save_called : nullptr;
        c.user = state_.get();
        handle_ = owner(detail::make(tlm_trainer_create, of.get(), by.get(), from.get(), &c));
    }
    tlm_trainer_t *get() const noexcept
    {
        return handle_.get();
    }
    std::uint64_t steps() const noexcept
    {
        return tlm_trainer_steps(get());
    }
    train_step step()
    {
        train_step done;
        check(tlm_trainer_step(&done, get()));
        return done;
    }
    /** Runs until this many steps are done; 0: all. */
    void run(std::uint64_t until = 0)
    {
        state_->guard.check(tlm_trainer_run(get(), until));
    }
    evaluation evaluate()
    {
        evaluation found;
        check(tlm_trainer_evaluate(&found, get()));
        return found;
    }
    /** Puts averages in the place of the parameters, or the parameters back. */
    void use_average(bool enabled = true)
    {
        check(tlm_trainer_use_average(get(), enabled));
    }
    void save(const std::string &path = {})
    {
        check(tlm_trainer_save(get(), detail::or_null(path)));
    }
    void resume(const std::string &path = {})
    {
        check(tlm_trainer_resume(get(), detail::or_null(path)));
    }

  private:
    using owner = detail::handle<tlm_trainer_t, tlm_trainer_free>;
    struct state { /* at an address that stays, for the callbacks */
        callback<const tlm_train_step_t &> on_step;
        callback<const tlm_evaluation_t &> on_evaluation;
        callback<const char *, std::uint64_t> on_save;
        detail::guarded guard;
    };
    static std::int32_t step_called(void *user, const tlm_train_step_t *step)
    {
        state *self = static_cast<state *>(user);
        return self->guard.call(self->on_step, *step);
    }
    static std::int32_t evaluation_called(void *user, const tlm_evaluation_t *found)
    {
        state *self = static_cast<state *>(user);
        return self->guard.call(self->on_evaluation, *found);
    }
    static std::int32_t save_called(void *user, const char *path, std::uint64_t step)
    {
        state *self = static_cast<state *>(user);
        return self->guard.call(self->on_save, path, step);
    }
    std::unique_ptr<state> state_;
    owner handle_;
};

} // namespace tinylm

#endif
