"""Ranks: processes on one or more machines that share the work of a call."""

from __future__ import annotations

import ctypes
import importlib
import time
from ctypes import byref, c_char_p, c_int32, c_void_p
from typing import Any

from ._abi import _CommunicatorOptions, _ExchangeCallback
from ._handle import _Handle
from ._native import _lib

_TAG = 1
_MAX_MESSAGE = 1 << 30  # bytes: MPI counts in int
_YIELD, _SLEEP = 0.002, 0.0001  # seconds of waiting before it sleeps, and of each sleep
_NO_RANK = -1
_FAILED, _CANCELLED = -4, -12  # TLM_ERR_IO, TLM_ERR_CANCELLED

_set_error = ctypes.CDLL.__getitem__(_lib, "tlm_set_error")  # without a check of the status that it returns
_set_error.restype, _set_error.argtypes = c_int32, [c_int32, c_char_p]


def _mpi() -> Any:
    try:
        return importlib.import_module("mpi4py.MPI")
    except ImportError as error:
        raise ImportError("ranks over MPI need mpi4py, and MPI itself: pip install mpi4py, and Debian's libopenmpi-dev "
                          f"or libmpich-dev ({error})") from None


class _MpiEngine:
    """Exchanges over a communicator of mpi4py. Waiting ranks sleep, since they may share a processor, and give up
    after some time, so that a rank that has ended does not stop the others forever."""

    def __init__(self, comm: Any, timeout: float) -> None:
        self.mpi, self.timeout = _mpi(), timeout
        self.comm = comm.Dup()  # its messages are not the program's
        self.comm.Set_errhandler(self.mpi.ERRORS_RETURN)
        self.callback = _ExchangeCallback(self.exchange)

    def exchange(self, _user: Any, receive: Any, receive_bytes: int, source: int, send: Any, send_bytes: int,
                 target: int) -> int:
        try:
            while source != _NO_RANK or target != _NO_RANK:
                got, sent = min(receive_bytes, _MAX_MESSAGE), min(send_bytes, _MAX_MESSAGE)
                self._message(receive, got, source, send, sent, target)
                receive, send = (receive or 0) + got, (send or 0) + sent
                receive_bytes, send_bytes = receive_bytes - got, send_bytes - sent
                source, target = source if receive_bytes else _NO_RANK, target if send_bytes else _NO_RANK
            return 0
        except KeyboardInterrupt:
            return int(_set_error(_CANCELLED, b"interrupted while waiting for another rank"))
        except BaseException as error:  # nothing may go up through the library
            return int(_set_error(_FAILED, f"{type(error).__name__}: {error}".encode()))

    def _message(self, receive: int, got: int, source: int, send: int, sent: int, target: int) -> None:
        requests = []
        if source != _NO_RANK:
            place = (ctypes.c_char * got).from_address(receive) if got else bytearray()
            requests.append(self.comm.Irecv([place, got, self.mpi.BYTE], source, _TAG))
        if target != _NO_RANK:
            data = (ctypes.c_char * sent).from_address(send) if sent else bytearray()
            requests.append(self.comm.Isend([data, sent, self.mpi.BYTE], target, _TAG))
        begin = time.monotonic()
        while not self.mpi.Request.Testall(requests):
            waited = time.monotonic() - begin
            if waited > self.timeout:
                for request in requests:
                    request.Cancel()
                    request.Free()
                raise TimeoutError(f"no answer of ranks {source} and {target} within {self.timeout:g} seconds")
            time.sleep(0 if waited < _YIELD else _SLEEP)

    def free(self) -> None:
        if not self.mpi.Is_finalized():
            self.comm.Free()


class Communicator(_Handle):
    """One rank's end of a group of ranks, which a Trainer, a BpeTrainer, Tokenizer.train and encode_files take, all
    ranks alike: they leave the same bits as one process. comm: a communicator of mpi4py, such as MPI.COMM_WORLD; these
    functions take it too. A rank that waits longer than `timeout` seconds for another fails. Run it under mpirun,
    with `python3 -m mpi4py program.py`, so that an exception on one rank ends all."""

    _free = "tlm_communicator_free"
    _engine: _MpiEngine | None = None

    def __init__(self, comm: Any = None, timeout: float = 1800.0) -> None:
        mpi = _mpi()
        comm = mpi.COMM_WORLD if comm is None else comm
        if not isinstance(comm, mpi.Intracomm) or comm == mpi.COMM_NULL:
            raise TypeError(f"comm takes an intracommunicator of mpi4py, not {comm!r}")
        if not timeout > 0:
            raise ValueError(f"timeout {timeout} is not positive")
        engine, handle = _MpiEngine(comm, timeout), c_void_p()
        options = _CommunicatorOptions(rank=engine.comm.Get_rank(), num_ranks=engine.comm.Get_size(),
                                       exchange=engine.callback)
        _lib.tlm_communicator_create(byref(handle), byref(options))
        self._handle, self._engine = handle, engine

    @classmethod
    def local(cls, num_ranks: int) -> list[Communicator]:
        """The ranks of a group that are threads of this process, each to be used from a thread of its own."""
        handles = (c_void_p * max(num_ranks, 1))()
        _lib.tlm_communicator_create_local(handles, num_ranks)
        return [cls._wrap(c_void_p(handle)) for handle in handles]

    def __del__(self) -> None:
        is_shared = "_keeper" in self.__dict__
        super().__del__()
        if self._engine is not None and not is_shared:
            engine, self._engine = self._engine, None
            engine.free()

    @property
    def rank(self) -> int:
        """The number of this rank, from 0."""
        return int(_lib.tlm_communicator_rank(self._handle))

    @property
    def num_ranks(self) -> int:
        """How many ranks there are."""
        return int(_lib.tlm_communicator_num_ranks(self._handle))

    @property
    def seconds(self) -> float:
        """Seconds that this rank has spent in exchanges, waiting included."""
        return float(_lib.tlm_communicator_seconds(self._handle))

    def barrier(self) -> None:
        """Returns once all ranks have called it."""
        _lib.tlm_communicator_barrier(self._handle)

    def __repr__(self) -> str:
        return f"Communicator(rank {self.rank} of {self.num_ranks})"


def _communicator(given: Any) -> Communicator | None:
    """What the argument `communicator` stands for: a Communicator, one of mpi4py, or None."""
    if given is None or isinstance(given, Communicator):
        return given
    if type(given).__module__.split(".")[0] == "mpi4py":
        return Communicator(given)
    raise TypeError("communicator takes a tinylm.Communicator or a communicator of mpi4py, such as MPI.COMM_WORLD, "
                    f"not {given!r}")
