#!/bin/sh
# In place of this machine's Python and other languages, in a build for another processor or C library.
echo "skipped: this machine's Python cannot load a library for another processor or C library"
exit 77
