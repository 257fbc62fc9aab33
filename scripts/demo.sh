#!/bin/sh
# Builds nnlua, after installing what that needs, and trains the network of scripts/train.lua.
#
#   sh scripts/demo.sh [ARGUMENTS FOR train.lua...]
set -eu
cd "$(dirname "$0")/.."

sh scripts/setup.sh
sh scripts/dev/build.sh build -DCMAKE_BUILD_TYPE=Release
exec build/nnlua scripts/train.lua "$@"
