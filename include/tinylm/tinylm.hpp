/* The library for C++17: handles that free themselves, errors as exceptions, views and containers of
 * the standard library. A thin layer: each function makes one call of the C interface, whose comments
 * say what it does, and every handle gives its C pointer by get(), so that both can be mixed. Headers
 * only, over nothing but the standard library. docs/cpp.md shows it in use.
 *
 * Handles are move-only, except that a tensor can be copied: the copy is one more reference. A
 * moved-from or default-made one is empty (false as a bool): it can be assigned to and destroyed.
 * Threads: as the C types. */
#ifndef TINYLM_TINYLM_HPP
#define TINYLM_TINYLM_HPP

#include "tinylm.h"

#include "cpp/base.hpp"
#include "cpp/chat.hpp"
#include "cpp/communicator.hpp"
#include "cpp/data.hpp"
#include "cpp/model.hpp"
#include "cpp/optimizer.hpp"
#include "cpp/tensor.hpp"
#include "cpp/tokenizer.hpp"
#include "cpp/trainer.hpp"

#endif
