#!/bin/sh
# Makes .venv-peers in the project's root, a virtual environment with the packages that the tests compare
# with (requirements.txt). The tests find it there. Options go to pip: --index-url, for the place of a
# torch that is built for CPUs alone and is a tenth as large, say.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
environment=$here/../../.venv-peers
"${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/pip" install -r "$here/requirements.txt" "$@"
