#!/bin/sh
# Builds nnlua, after installing what that needs, and runs its tests. The last line is "N passed, N failed"; exit code
# 1 if any failed, or none ran.
#
#   sh scripts/test.sh [PATTERN...]      only test files whose path contains one of the patterns
set -eu
cd "$(dirname "$0")/.."

sh scripts/setup.sh tests
sh scripts/dev/build.sh build --tests -DCMAKE_BUILD_TYPE=Release
exec sh scripts/dev/suite.sh build "$@"
