/* Tensors, their ops, and custom ops. */
#ifndef TINYLM_CPP_TENSOR_HPP
#define TINYLM_CPP_TENSOR_HPP

#include <new>

#include "../custom_op.h"
#include "../nn.h"
#include "base.hpp"

namespace tinylm
{

/* ---- Tensors ----------------------------------------------------------------------------- */

namespace detail
{

template <typename T> constexpr std::int32_t dtype_of()
{
    using plain = std::remove_const_t<T>;
    if constexpr (std::is_same_v<plain, float>)
        return TLM_FLOAT32;
    else if constexpr (std::is_same_v<plain, std::int32_t>)
        return TLM_INT32;
    else if constexpr (std::is_same_v<plain, std::int64_t>)
        return TLM_INT64;
    else if constexpr (std::is_same_v<plain, std::uint32_t>)
        return TLM_UINT32;
    else {
        static_assert(std::is_same_v<plain, bool>, "no tensor has such elements");
        return TLM_BOOL;
    }
}

} // namespace detail

/** A reference to a tensor. A copy is one more reference to the same tensor; an empty one is to none.
 *  @since 0.2 */
class tensor : public detail::handle<tlm_tensor_t, tlm_tensor_free>
{
  public:
    using handle::handle;
    tensor() noexcept = default;
    tensor(const tensor &other) noexcept : handle(tlm_tensor_retain(other.get()))
    {
    }
    tensor(tensor &&other) noexcept = default;
    tensor &operator=(const tensor &other) noexcept
    {
        return *this = tensor(other);
    }
    tensor &operator=(tensor &&other) noexcept = default;
    ~tensor() = default;

    static tensor zeros(shape_span shape, std::int32_t dtype = TLM_FLOAT32)
    {
        return tensor(detail::make(tlm_tensor_create, dtype, shape.data(), ndim_of(shape)));
    }
    /** A copy of the values of a container, as many as the shape has. */
    template <typename C, typename T = detail::element<const C>>
    static tensor from(shape_span shape, const C &values)
    {
        std::size_t n = 1;
        for (std::int64_t size : shape)
            n *= static_cast<std::size_t>(size);
        if (n != values.size())
            throw error(TLM_ERR_SHAPE, "tensor::from: " + std::to_string(values.size()) +
                                           " values for a shape of " + std::to_string(n));
        return tensor(detail::make(tlm_tensor_from_data, detail::dtype_of<T>(),
                                   static_cast<const void *>(values.data()), shape.data(),
                                   ndim_of(shape)));
    }
    static tensor from(shape_span shape, std::initializer_list<float> values)
    {
        return from(shape, span<const float>(values.begin(), values.size()));
    }
    /** Row-major values in the caller's memory, which must outlive every tensor over it. */
    template <typename T> static tensor wrap(shape_span shape, T *values)
    {
        return tensor(
            detail::make(tlm_tensor_wrap, detail::dtype_of<T>(), static_cast<void *>(values),
                         shape.data(), static_cast<const std::int64_t *>(nullptr), ndim_of(shape),
                         static_cast<void (*)(void *)>(nullptr), static_cast<void *>(nullptr)));
    }
    /** Another reference to a tensor of the C interface. */
    static tensor share(tlm_tensor_t *borrowed) noexcept
    {
        return tensor(tlm_tensor_retain(borrowed));
    }
    std::int32_t dtype() const noexcept
    {
        return tlm_tensor_dtype(get());
    }
    shape_span shape() const noexcept
    {
        return {tlm_tensor_shape(get()), static_cast<std::size_t>(tlm_tensor_ndim(get()))};
    }
    shape_span strides() const noexcept
    {
        return {tlm_tensor_strides(get()), static_cast<std::size_t>(tlm_tensor_ndim(get()))};
    }
    std::int64_t numel() const noexcept
    {
        return tlm_tensor_numel(get());
    }
    /** The elements in place; for a tensor that is not row-major, the span does not cover them. */
    template <typename T = float> span<T> data() const
    {
        if (dtype() != detail::dtype_of<T>())
            throw error(TLM_ERR_INVALID_ARGUMENT, "tensor::data: another type of elements");
        return {static_cast<T *>(tlm_tensor_data(get())), static_cast<std::size_t>(numel())};
    }
    /** All elements, row-major, copied. */
    template <typename T = float> std::vector<T> to_vector() const
    {
        std::vector<T> values(static_cast<std::size_t>(numel()));
        if (dtype() != detail::dtype_of<T>())
            throw error(TLM_ERR_INVALID_ARGUMENT, "tensor::to_vector: another type of elements");
        check(tlm_tensor_copy_out(values.data(), values.size(), get()));
        return values;
    }
    template <typename C, typename T = detail::element<const C>> void copy_from(const C &values)
    {
        if (dtype() != detail::dtype_of<T>())
            throw error(TLM_ERR_INVALID_ARGUMENT, "tensor::copy_from: another type of elements");
        check(tlm_tensor_copy_in(get(), values.data(), values.size()));
    }
    float item() const
    {
        return detail::read(tlm_tensor_item, get());
    }

    tensor &set_requires_grad(bool requires_grad = true)
    {
        check(tlm_tensor_set_requires_grad(get(), requires_grad));
        return *this;
    }
    bool requires_grad() const noexcept
    {
        return tlm_tensor_requires_grad(get());
    }
    /** The gradient; empty if there is none. */
    tensor grad() const noexcept
    {
        return share(tlm_tensor_grad(get()));
    }
    void zero_grad() noexcept
    {
        tlm_tensor_zero_grad(get());
    }
    void backward() const
    {
        check(tlm_tensor_backward(get(), nullptr));
    }
    void backward(const tensor &gradient) const
    {
        check(tlm_tensor_backward(get(), gradient.get()));
    }
    tensor detach() const
    {
        return tensor(detail::make(tlm_tensor_detach, static_cast<const tlm_tensor_t *>(get())));
    }

  private:
    static std::int32_t ndim_of(shape_span shape) noexcept
    {
        /* More than any tensor has: the library refuses it. */
        return shape.size() > TLM_MAX_DIMS ? TLM_MAX_DIMS + 1
                                           : static_cast<std::int32_t>(shape.size());
    }
};

/** No ops are recorded on this thread while it lives. @since 0.2 */
class no_grad
{
  public:
    no_grad() noexcept : former_(tlm_set_grad_enabled(false))
    {
    }
    ~no_grad()
    {
        tlm_set_grad_enabled(former_);
    }
    no_grad(const no_grad &) = delete;
    no_grad &operator=(const no_grad &) = delete;

  private:
    bool former_;
};

/* Ops, by the names of the C interface. */
#define TINYLM_DETAIL_UNARY(name)                                                                  \
    inline tensor name(const tensor &a)                                                            \
    {                                                                                              \
        return tensor(detail::make(tlm_##name, a.get()));                                          \
    }
#define TINYLM_DETAIL_BINARY(name)                                                                 \
    inline tensor name(const tensor &a, const tensor &b)                                           \
    {                                                                                              \
        return tensor(detail::make(tlm_##name, a.get(), b.get()));                                 \
    }
TINYLM_DETAIL_BINARY(add)
TINYLM_DETAIL_BINARY(sub)
TINYLM_DETAIL_BINARY(mul)
TINYLM_DETAIL_BINARY(div)
TINYLM_DETAIL_BINARY(pow)
TINYLM_DETAIL_BINARY(matmul)
TINYLM_DETAIL_BINARY(linear)        /* x, weight */
TINYLM_DETAIL_BINARY(embedding)     /* weight, ids */
TINYLM_DETAIL_BINARY(silu_mul)      /* gate, up */
TINYLM_DETAIL_BINARY(cross_entropy) /* logits, targets */
TINYLM_DETAIL_UNARY(sum)
TINYLM_DETAIL_UNARY(mean)
TINYLM_DETAIL_UNARY(exp)
TINYLM_DETAIL_UNARY(log)
TINYLM_DETAIL_UNARY(sqrt)
TINYLM_DETAIL_UNARY(tanh)
TINYLM_DETAIL_UNARY(sigmoid)
TINYLM_DETAIL_UNARY(relu)
TINYLM_DETAIL_UNARY(abs)
TINYLM_DETAIL_UNARY(gelu)
TINYLM_DETAIL_UNARY(silu)
TINYLM_DETAIL_UNARY(contiguous)
#undef TINYLM_DETAIL_UNARY
#undef TINYLM_DETAIL_BINARY

inline tensor operator+(const tensor &a, const tensor &b)
{
    return add(a, b);
}
inline tensor operator-(const tensor &a, const tensor &b)
{
    return sub(a, b);
}
inline tensor operator*(const tensor &a, const tensor &b)
{
    return mul(a, b);
}
inline tensor operator/(const tensor &a, const tensor &b)
{
    return div(a, b);
}
inline tensor scale(const tensor &a, float factor)
{
    return tensor(detail::make(tlm_scale, a.get(), factor));
}
inline tensor operator*(float factor, const tensor &a)
{
    return scale(a, factor);
}
inline tensor operator*(const tensor &a, float factor)
{
    return scale(a, factor);
}
inline tensor operator-(const tensor &a)
{
    return scale(a, -1.0f);
}
inline tensor sum(const tensor &a, std::int32_t dim, bool keep_dim = false)
{
    return tensor(detail::make(tlm_sum_dim, a.get(), dim, keep_dim));
}
inline tensor mean(const tensor &a, std::int32_t dim, bool keep_dim = false)
{
    return tensor(detail::make(tlm_mean_dim, a.get(), dim, keep_dim));
}
/** The largest along a dimension, and their places. */
inline std::pair<tensor, tensor> max(const tensor &a, std::int32_t dim, bool keep_dim = false)
{
    tlm_tensor_t *values, *indices;
    check(tlm_max_dim(&values, &indices, a.get(), dim, keep_dim));
    return {tensor(values), tensor(indices)};
}
inline tensor where(const tensor &condition, const tensor &a, const tensor &b)
{
    return tensor(detail::make(tlm_where, condition.get(), a.get(), b.get()));
}
inline tensor reshape(const tensor &a, shape_span shape)
{
    return tensor(
        detail::make(tlm_reshape, a.get(), shape.data(), static_cast<std::int32_t>(shape.size())));
}
inline tensor transpose(const tensor &a, std::int32_t dim0, std::int32_t dim1)
{
    return tensor(detail::make(tlm_transpose, a.get(), dim0, dim1));
}
inline tensor slice(const tensor &a, std::int32_t dim, std::int64_t start, std::int64_t stop)
{
    return tensor(detail::make(tlm_slice, a.get(), dim, start, stop));
}
/** Elements start, start + step, ..., `count` of them. */
inline tensor slice_step(const tensor &a, std::int32_t dim, std::int64_t start, std::int64_t step,
                         std::int64_t count)
{
    return tensor(detail::make(tlm_slice_step, a.get(), dim, start, step, count));
}
inline tensor take(const tensor &a, std::int32_t dim, const tensor &indices)
{
    return tensor(detail::make(tlm_take, a.get(), dim, indices.get()));
}
/** Bools; comparison: TLM_COMPARE_EQUAL, TLM_COMPARE_LESS ... */
inline tensor compare(const tensor &a, const tensor &b, std::int32_t comparison)
{
    return tensor(detail::make(tlm_compare, static_cast<const tlm_tensor_t *>(a.get()),
                               static_cast<const tlm_tensor_t *>(b.get()), comparison));
}
/** As another type, outside any graph. */
inline tensor convert(const tensor &a, std::int32_t dtype)
{
    return tensor(
        detail::make(tlm_tensor_convert, static_cast<const tlm_tensor_t *>(a.get()), dtype));
}
inline tensor linear(const tensor &x, const tensor &weight, const tensor &bias)
{
    return tensor(detail::make(tlm_linear_bias, x.get(), weight.get(), bias.get()));
}
inline tensor layer_norm(const tensor &x, const tensor &gain, const tensor &bias, float eps = 1e-5f)
{
    return tensor(detail::make(tlm_layer_norm, x.get(), gain.get(), bias.get(), eps));
}
/** Count `stream` up with each call. */
inline tensor dropout(const tensor &x, double rate, std::uint64_t seed, std::uint64_t stream)
{
    return tensor(detail::make(tlm_dropout, x.get(), rate, seed, stream));
}
inline tensor rms_norm(const tensor &x, const tensor &weight, float eps = 1e-5f)
{
    return tensor(detail::make(tlm_rms_norm, x.get(), weight.get(), eps));
}
inline tensor swiglu(const tensor &x, const tensor &w1, const tensor &w2, const tensor &w3)
{
    return tensor(detail::make(tlm_swiglu, x.get(), w1.get(), w2.get(), w3.get()));
}
/** positions may be empty: 0, 1, 2 ... */
inline tensor rope(const tensor &x, const tensor &positions, double theta = 10000.0)
{
    return tensor(detail::make(tlm_rope, x.get(), positions.get(), theta));
}
inline tensor softmax(const tensor &x, std::int32_t dim)
{
    return tensor(detail::make(tlm_softmax, x.get(), dim));
}
/** mask may be empty: none. */
inline tensor attention(const tensor &query, const tensor &key, const tensor &value,
                        const tensor &mask, bool causal)
{
    return tensor(
        detail::make(tlm_attention, query.get(), key.get(), value.get(), mask.get(), causal));
}
/** positions may be empty; rope_theta 0: no rotation. */
inline tensor multi_head_attention(const tensor &x, const tensor &wq, const tensor &wk,
                                   const tensor &wv, const tensor &wo, std::int32_t num_heads,
                                   double rope_theta, const tensor &positions)
{
    return tensor(detail::make(tlm_multi_head_attention, x.get(), wq.get(), wk.get(), wv.get(),
                               wo.get(), num_heads, rope_theta, positions.get()));
}
inline void init_truncated_normal(const tensor &leaf, double sigma, double cut_sigmas,
                                  std::uint64_t seed, std::uint64_t stream)
{
    check(tlm_init_truncated_normal(leaf.get(), sigma, cut_sigmas, seed, stream));
}

inline void init_uniform(const tensor &leaf, double low, double high, std::uint64_t seed,
                         std::uint64_t stream)
{
    check(tlm_init_uniform(leaf.get(), low, high, seed, stream));
}

namespace detail
{

/* The C handles of a list of tensors, borrowed. */
inline std::vector<tlm_tensor_t *> pointers(span<const tensor> tensors)
{
    std::vector<tlm_tensor_t *> list;
    for (const tensor &each : tensors)
        list.push_back(each.get());
    return list;
}

} // namespace detail

inline tensor concat(span<const tensor> tensors, std::int32_t dim)
{
    std::vector<tlm_tensor_t *> list = detail::pointers(tensors);
    return tensor(detail::make(tlm_concat, list.data(), list.size(), dim));
}

/** A custom op: `result`, computed from `inputs` outside the graph. backward(gradient, inputs) returns
 *  a std::vector<tensor> with one tensor per input, an empty one for a gradient of 0; it may keep
 *  what it needs in its captures. */
template <typename F>
tensor custom_op(const std::string &name, const tensor &result, span<const tensor> inputs,
                 F backward)
{
    auto call = [](void *user, tlm_tensor_t **grads, tlm_tensor_t *grad_out,
                   tlm_tensor_t *const *in, std::size_t n, tlm_tensor_t *const *,
                   std::size_t) -> tlm_status_t {
        try {
            std::vector<tensor> shared;
            for (std::size_t i = 0; i < n; i++)
                shared.push_back(tensor::share(in[i]));
            std::vector<tensor> made =
                (*static_cast<F *>(user))(tensor::share(grad_out), span<const tensor>(shared));
            for (std::size_t i = 0; i < n && i < made.size(); i++)
                grads[i] = made[i].release();
            return TLM_OK;
        } catch (const error &failure) {
            return failure.status();
        } catch (const std::bad_alloc &) {
            return TLM_ERR_OUT_OF_MEMORY;
        } catch (...) {
            return TLM_ERR_CANCELLED;
        }
    };
    std::vector<tlm_tensor_t *> list = detail::pointers(inputs);
    auto kept = std::make_unique<F>(std::move(backward));
    tlm_custom_op_options_t options = TLM_CUSTOM_OP_OPTIONS_INIT;
    options.name = name.c_str();
    options.backward = call;
    options.release = [](void *user) { delete static_cast<F *>(user); };
    options.user = kept.get();
    tlm_tensor_t *made = detail::make(
        tlm_custom_op_record, static_cast<const tlm_tensor_t *>(result.get()), list.data(),
        list.size(), static_cast<tlm_tensor_t *const *>(nullptr), std::size_t{0}, &options);
    static_cast<void>(kept.release()); /* the library's now, and perhaps released already */
    return tensor(made);
}

} // namespace tinylm

#endif
