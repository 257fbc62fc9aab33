// check.h: the engine's test helper. A test is a sentence that says what holds, and a number of CHECKs that
// must be true. main opens sentences with check_that, checks, and ends with `return check_end();`.
#ifndef NNL_TESTS_CHECK_H
#define NNL_TESTS_CHECK_H

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

// A sentence whose checks fail by the thousand is printed with its first few only.
#define CHECK_SHOWN 5

typedef struct check_state {
    const char *sentence;
    int passed, failed, failures_here;
} check_state;

static check_state check_now;

static inline void check_close(void) {
    if (!check_now.sentence) return;
    if (check_now.failures_here)
        check_now.failed++;
    else
        check_now.passed++;
    check_now.failures_here = 0;
    check_now.sentence = NULL;
}

// Begin the test named by `sentence`; the one before is over.
static inline void check_that(const char *sentence) {
    check_close();
    check_now.sentence = sentence;
}

__attribute__((format(printf, 4, 5))) static inline bool check_report(bool ok, const char *file, int line,
                                                                      const char *format, ...) {
    if (ok) return true;
    if (check_now.failures_here == 0)
        printf("FAILED: %s\n", check_now.sentence ? check_now.sentence : "(no sentence)");
    if (check_now.failures_here++ >= CHECK_SHOWN) return false;
    va_list args;
    va_start(args, format);
    printf("    %s:%d: ", file, line);
    vprintf(format, args);
    printf("\n");
    va_end(args);
    return false;
}

// Equal within `tolerance`, relative to the larger of 1 and the expected value; NaN equals NaN, infinity
// itself.
static inline bool check_is_near(double got, double expected, double tolerance) {
    if (isnan(expected) || isnan(got)) return isnan(expected) && isnan(got);
    if (isinf(expected) || isinf(got)) return got == expected;
    return fabs(got - expected) <= tolerance * fmax(1, fabs(expected));
}

// Print the totals; what main returns.
static inline int check_end(void) {
    check_close();
    printf("%d passed, %d failed\n", check_now.passed, check_now.failed);
    return check_now.failed > 0;
}

// Each gives its truth, so that a test can stop early.
#define CHECK(condition) check_report((condition), __FILE__, __LINE__, "%s", #condition)
#define CHECK_MESSAGE(condition, ...) check_report((condition), __FILE__, __LINE__, __VA_ARGS__)
#define CHECK_NEAR(got, expected, tolerance)                                                                 \
    check_report(check_is_near((got), (expected), (tolerance)), __FILE__, __LINE__, "%s is %.9g, not %.9g",  \
                 #got, (double)(got), (double)(expected))
#define CHECK_INT(got, expected)                                                                             \
    check_report((long long)(got) == (long long)(expected), __FILE__, __LINE__, "%s is %lld, not %lld",      \
                 #got, (long long)(got), (long long)(expected))

#endif
