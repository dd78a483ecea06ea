"""The library as a whole: versions, threads, kernels and random numbers."""

from __future__ import annotations

from ctypes import c_uint64

from ._native import _lib
from ._structs import _room, _unsigned
from ._words import _WORDS, _number


def version() -> str:
    """The library's version, "major.minor.patch"."""
    return str(_lib.tlm_version(), "ascii")


def abi_version() -> int:
    """The number of the library's binary interface."""
    return int(_lib.tlm_abi_version())


def set_num_threads(n: int) -> None:
    """Sets the number of threads that a call may use; 0: one per CPU. Results have the same bits for every number."""
    _lib.tlm_set_num_threads(n)


def num_threads() -> int:
    """The number of threads that a call may use."""
    return int(_lib.tlm_num_threads())


def shutdown() -> None:
    """Ends the library's threads and frees what it keeps for later calls. The library remains usable."""
    _lib.tlm_shutdown()


def cpu_level() -> str:
    """The level of the kernels in use: "scalar", "avx2", "avx512" or "neon"."""
    return _WORDS["cpu_level"][int(_lib.tlm_cpu_level())]


def set_cpu_level(level: str) -> None:
    """Lowers the level of the kernels, or raises it again up to what the CPU has."""
    _lib.tlm_set_cpu_level(_number("cpu_level", level))


def cpu_features() -> set[str]:
    """Names of the CPU features that the library may use now, such as "avx2" or "neon"."""
    mask = _lib.tlm_cpu_features()
    return {_lib.tlm_cpu_feature_name(1 << bit).decode() for bit in range(64) if mask >> bit & 1}


def check_environment() -> None:
    """Raises InvalidArgumentError for a word in the environment variable TINYLM_CPU, or a number in
    TINYLM_NUM_THREADS, that there is not; everything else ignores such."""
    _lib.tlm_check_environment()


def set_products(products: str) -> None:
    """How linear layers of this thread take their factors from now on: "float32", "bfloat16" (refused where the CPU
    does not multiply it) or "bfloat16_emulated". Sums, weights and everything else stay float32."""
    _lib.tlm_set_products(_number("products", products))


def products() -> str:
    """How linear layers of this thread take their factors."""
    return _WORDS["products"][int(_lib.tlm_products())]


def gemm_kernel_name() -> str:
    """The name of the kernels that matrix products use."""
    return str(_lib.tlm_gemm_kernel_name(), "ascii")


def random_bits(n: int, seed: int, stream: int = 0, offset: int = 0) -> list[int]:
    """n random numbers of 64 bits, a pure function of the arguments."""
    words = _room(c_uint64, n, "n")
    _lib.tlm_random_bits(words, n, _unsigned("seed", seed), _unsigned("stream", stream),
                         _unsigned("offset", offset))
    return list(words)
