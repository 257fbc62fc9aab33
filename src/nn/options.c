// options.c: defaults and ranges of declared options.
#include "nn/options.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool is_list(nnl_option_type type) { return type == NNL_OPTION_NUMBERS || type == NNL_OPTION_FIELDS; }

void nnl_option_default(const nnl_option *option, nnl_option_value *value) {
    *value = (nnl_option_value){.given = false};
    if (option->type == NNL_OPTION_NUMBER) {
        value->d = option->fallback[0];
    } else if (is_list(option->type)) {
        value->count = 2;
        memcpy(value->numbers, option->fallback, sizeof option->fallback);
    } else {
        value->i = (int64_t)option->fallback[0];
        for (int k = 0; k < NNL_OPTION_LIST; k++) value->ints[k] = value->i;
    }
}

static bool within(const nnl_option *option, double x) {
    if (isnan(x)) return false;
    if (option->low == option->high) return true;
    return x >= option->low && x <= option->high && !(option->exclusive_low && x == option->low);
}

static const char *range_text(const nnl_option *option, char *text, size_t room) {
    const char *over = option->exclusive_low ? "greater than" : "at least";
    if (isinf(option->high)) {
        snprintf(text, room, "%s %.14g", over, option->low);
    } else if (option->exclusive_low) {
        snprintf(text, room, "greater than %.14g and at most %.14g", option->low, option->high);
    } else {
        snprintf(text, room, "between %.14g and %.14g", option->low, option->high);
    }
    return text;
}

static nnl_status check_number(nnl_context *ctx, const char *who, const nnl_option *option, double x) {
    char range[96];
    if (within(option, x)) return NNL_OK;
    if (option->low == option->high) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: option '%s' must be a number, not NaN", who,
                        option->name);
    }
    return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: option '%s' must be %s, got %.14g", who, option->name,
                    range_text(option, range, sizeof range), x);
}

nnl_status nnl_option_check(nnl_context *ctx, const char *who, const nnl_option *option,
                            const nnl_option_value *value) {
    if (option->required && !value->given) {
        return nnl_fail(ctx, NNL_ERR_ARGUMENT, "%s: '%s' is required", who, option->name);
    }
    if (!value->given) return NNL_OK;
    if (value->none) return NNL_OK;
    if (option->type == NNL_OPTION_NUMBER) return check_number(ctx, who, option, value->d);
    if (option->type == NNL_OPTION_INT) return check_number(ctx, who, option, (double)value->i);
    nnl_status status = NNL_OK;
    bool numbers = is_list(option->type), ints = option->type == NNL_OPTION_INTS;
    for (int k = 0; k < value->count && status == NNL_OK && (numbers || ints); k++) {
        status = check_number(ctx, who, option, numbers ? value->numbers[k] : (double)value->ints[k]);
    }
    return status;
}

const nnl_option *nnl_option_named(const nnl_option *options, const char *name, int *position) {
    for (int k = 0; k < NNL_MAX_OPTIONS && options[k].type != NNL_OPTION_END; k++) {
        if (strcmp(options[k].name, name) != 0) continue;
        if (position) *position = k;
        return &options[k];
    }
    return NULL;
}

// Words have one space between them.
int nnl_choice_position(const char *choices, const char *word, size_t length) {
    int position = 0;
    for (const char *at = choices; *at; position++) {
        size_t n = strcspn(at, " ");
        if (n == length && memcmp(at, word, n) == 0) return position;
        at += n + (at[n] == ' ');
    }
    return -1;
}

const char *nnl_choice_word(const char *choices, int position, size_t *length) {
    const char *at = choices;
    for (; position > 0 && *at; position--) {
        at += strcspn(at, " ");
        if (*at) at++;
    }
    *length = strcspn(at, " ");
    return at;
}
