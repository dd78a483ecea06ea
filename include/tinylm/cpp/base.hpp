/* Errors, views, arrays and handles: the base of the C++ interface. */
#ifndef TINYLM_CPP_BASE_HPP
#define TINYLM_CPP_BASE_HPP

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>
#if __cplusplus >= 202002L && __has_include(<span>)
#include <ranges>
#include <span>
#endif

#include "../runtime.h"
#include "../version.h"

namespace tinylm
{

/* ---- Errors ------------------------------------------------------------------------------ */

/** A call that failed: what() is the library's message. @since 0.2 */
class error : public std::runtime_error
{
  public:
    error(tlm_status_t status, const std::string &message)
        : std::runtime_error(message), status_(status)
    {
    }
    tlm_status_t status() const noexcept
    {
        return status_;
    }
    /** Such as "TLM_ERR_SHAPE". */
    const char *status_name() const noexcept
    {
        return tlm_status_name(status_);
    }

  private:
    tlm_status_t status_;
};

/** Throws unless `status` is TLM_OK: for calls of the C interface. */
inline void check(tlm_status_t status)
{
    if (status != TLM_OK)
        throw error(status, tlm_error_message());
}

/* ---- Views and arrays -------------------------------------------------------------------- */

/** A view of elements that someone else owns, like std::span of C++20, to and from which it converts.
 *  It views anything with data() and size(), an array, or a list, which lives as long as the call. */
template <typename T> class span
{
    template <typename C>
    using fits = std::enable_if_t<
        !std::is_same_v<std::decay_t<C>, span> &&
        std::is_convertible_v<std::remove_pointer_t<decltype(std::declval<C &>().data())> (*)[],
                              T (*)[]> &&
        std::is_convertible_v<decltype(std::declval<C &>().size()), std::size_t>>;

  public:
    using element_type = T;
    using value_type = std::remove_cv_t<T>;
    using iterator = T *;

    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size)
    {
    }
    template <std::size_t N> constexpr span(T (&array)[N]) noexcept : data_(array), size_(N)
    {
    }
    template <typename C, typename = fits<C>>
    constexpr span(C &&container) noexcept : data_(container.data()), size_(container.size())
    {
    }
    template <typename U = T, typename = std::enable_if_t<std::is_const_v<U>>>
    constexpr span(std::initializer_list<std::remove_const_t<T>> list) noexcept
    {
        data_ = list.begin();
        size_ = list.size();
    }
    constexpr T *data() const noexcept
    {
        return data_;
    }
    constexpr std::size_t size() const noexcept
    {
        return size_;
    }
    constexpr bool empty() const noexcept
    {
        return size_ == 0;
    }
    constexpr T *begin() const noexcept
    {
        return data_;
    }
    constexpr T *end() const noexcept
    {
        return data_ + size_;
    }
    constexpr T &operator[](std::size_t i) const noexcept
    {
        return data_[i];
    }
    constexpr T &front() const noexcept
    {
        return data_[0];
    }
    constexpr T &back() const noexcept
    {
        return data_[size_ - 1];
    }
    std::vector<std::remove_const_t<T>> to_vector() const
    {
        return std::vector<std::remove_const_t<T>>(begin(), end());
    }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};

namespace detail
{

/* What a container with data() and size() holds, const where it must not be written to. */
template <typename C> using element = std::remove_pointer_t<decltype(std::declval<C &>().data())>;

/* Views any container, such as a std::vector or a std::span. */
template <typename C> span<element<C>> as_span(C &&container) noexcept
{
    return {container.data(), container.size()};
}

} // namespace detail

using id_span = span<const std::uint32_t>;
using shape_span = span<const std::int64_t>;

/** An array that the library made, which it owns and frees with tlm_free. A range: for (auto id : ids). */
template <typename T> class array
{
  public:
    using value_type = T;
    using iterator = T *;
    using const_iterator = const T *;

    array() noexcept = default;
    /** Takes ownership of the array. */
    array(T *data, std::size_t size) noexcept : data_(data), size_(size)
    {
    }
    array(array &&other) noexcept
        : data_(std::move(other.data_)), size_(std::exchange(other.size_, 0))
    {
    }
    array &operator=(array &&other) noexcept
    {
        data_ = std::move(other.data_);
        size_ = std::exchange(other.size_, 0);
        return *this;
    }
    const T *data() const noexcept
    {
        return data_.get();
    }
    T *data() noexcept
    {
        return data_.get();
    }
    std::size_t size() const noexcept
    {
        return size_;
    }
    bool empty() const noexcept
    {
        return size_ == 0;
    }
    const T *begin() const noexcept
    {
        return data();
    }
    T *begin() noexcept
    {
        return data();
    }
    const T *end() const noexcept
    {
        return data() + size_;
    }
    T *end() noexcept
    {
        return data() + size_;
    }
    const T &operator[](std::size_t i) const noexcept
    {
        return data_.get()[i];
    }
    T &operator[](std::size_t i) noexcept
    {
        return data_.get()[i];
    }
    const T &front() const noexcept
    {
        return data()[0];
    }
    const T &back() const noexcept
    {
        return data()[size_ - 1];
    }
    std::vector<T> to_vector() const
    {
        return std::vector<T>(begin(), end());
    }

  private:
    struct deleter {
        void operator()(T *data) const noexcept
        {
            tlm_free(data);
        }
    };
    std::unique_ptr<T, deleter> data_;
    std::size_t size_ = 0;
};

using ids = array<std::uint32_t>;

namespace detail
{

/* A text that the library made, as a string. */
inline std::string take_text(char *text, std::size_t size)
{
    array<char> owner(text, size);
    return std::string(text, size);
}

/* Owner of a C handle. */
template <typename T, void (*free_function)(T *)> class handle
{
  public:
    handle() noexcept = default;
    /** Takes ownership of the handle. */
    explicit handle(T *owned) noexcept : pointer_(owned)
    {
    }
    /** The C handle, borrowed. */
    T *get() const noexcept
    {
        return pointer_.get();
    }
    /** Gives up ownership of the C handle: the caller frees it. */
    T *release() noexcept
    {
        return pointer_.release();
    }
    explicit operator bool() const noexcept
    {
        return pointer_ != nullptr;
    }

  private:
    struct deleter {
        void operator()(T *pointer) const noexcept
        {
            free_function(pointer);
        }
    };
    std::unique_ptr<T, deleter> pointer_;
};

/* The handle that a C function makes from `arguments`. */
template <typename T, typename... Parameters, typename... Arguments>
T *make(tlm_status_t (*function)(T **, Parameters...), Arguments... arguments)
{
    T *made = nullptr;
    check(function(&made, arguments...));
    return made;
}

/* The number that a C function writes. */
template <typename T, typename... Parameters, typename... Arguments>
T read(tlm_status_t (*function)(T *, Parameters...), Arguments... arguments)
{
    T value{};
    check(function(&value, arguments...));
    return value;
}

/* Whether what a callable returned ends the call; nothing does not. */
template <typename F, typename... Arguments> bool ends(F &&function, Arguments &&...arguments)
{
    using result = std::invoke_result_t<F, Arguments...>;
    static_assert(std::is_void_v<result> || std::is_convertible_v<result, bool>,
                  "a callback returns nothing, bool, or a number");
    if constexpr (std::is_void_v<result>) {
        std::invoke(std::forward<F>(function), std::forward<Arguments>(arguments)...);
        return false;
    } else {
        return static_cast<bool>(
            std::invoke(std::forward<F>(function), std::forward<Arguments>(arguments)...));
    }
}

/* Callables called from C: an exception ends the C call, and is thrown again after it. */
class guarded
{
  public:
    /* For the library: 1 ends its call. */
    template <typename F, typename... Arguments>
    std::int32_t call(F &function, Arguments &&...arguments) noexcept
    {
        try {
            return ends(function, std::forward<Arguments>(arguments)...) ? 1 : 0;
        } catch (...) {
            thrown_ = std::current_exception();
            return 1;
        }
    }
    void check(tlm_status_t status)
    {
        if (thrown_)
            std::rethrow_exception(std::exchange(thrown_, nullptr));
        tinylm::check(status);
    }

  private:
    std::exception_ptr thrown_;
};

} // namespace detail

/** A function that a long call of the library calls. It ends that call as in C and in Python: by true,
 *  or any number other than 0. One that returns nothing never does. An empty one is not called.
 *  @since 0.2 */
template <typename... Arguments> class callback
{
    template <typename F>
    using fits = std::enable_if_t<!std::is_same_v<std::decay_t<F>, callback> &&
                                  std::is_invocable_v<std::decay_t<F> &, Arguments...>>;

  public:
    callback() noexcept = default;
    callback(std::nullptr_t) noexcept
    {
    }
    template <typename F, typename = fits<F>>
    callback(F &&function)
        : function_([kept = std::decay_t<F>(std::forward<F>(function))](
                        Arguments... arguments) mutable -> bool {
              return detail::ends(kept, std::forward<Arguments>(arguments)...);
          })
    {
    }
    explicit operator bool() const noexcept
    {
        return static_cast<bool>(function_);
    }
    /** Whether the call ends. */
    bool operator()(Arguments... arguments) const
    {
        return function_(std::forward<Arguments>(arguments)...);
    }

  private:
    std::function<bool(Arguments...)> function_;
};

/* ---- Run time ---------------------------------------------------------------------------- */

inline void set_num_threads(std::int32_t num_threads)
{
    check(tlm_set_num_threads(num_threads));
}

inline std::int32_t num_threads() noexcept
{
    return tlm_num_threads();
}

inline void shutdown()
{
    check(tlm_shutdown());
}

/** Throws for a word in TINYLM_CPU, or a number in TINYLM_NUM_THREADS, that there is not. */
inline void check_environment()
{
    check(tlm_check_environment());
}

inline const char *version() noexcept
{
    return tlm_version();
}

} // namespace tinylm

#if __cplusplus >= 202002L && __has_include(<span>)
/* So that std::span and the views of <ranges> take them. */
template <typename T> inline constexpr bool std::ranges::enable_view<tinylm::span<T>> = true;
template <typename T>
inline constexpr bool std::ranges::enable_borrowed_range<tinylm::span<T>> = true;
#endif

#endif
