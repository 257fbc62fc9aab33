// split.c: the rules by which text is cut, each written out by hand: one look ahead, no pattern engine,
// linear time.
#include "data/split.h"

#include <string.h>

typedef bool char_test(nnl_char c);

static bool is_letter(nnl_char c) { return c.class == NNL_CHAR_LETTER; }
static bool is_number(nnl_char c) { return c.class == NNL_CHAR_NUMBER; }
static bool is_space(nnl_char c) { return c.class == NNL_CHAR_SPACE; }
static bool is_newline(nnl_char c) { return c.code == '\n' || c.code == '\r'; }
static bool is_sign(nnl_char c) { return !is_letter(c) && !is_number(c) && !is_space(c); }
static bool is_word(nnl_char c) { return is_letter(c) || is_number(c) || c.class == NNL_CHAR_MARK; }

// Behind the characters from `at` on that pass the test, `most` of them at most.
static const char *run(const char *at, const char *end, char_test *test, size_t most) {
    while (at < end && most-- > 0) {
        nnl_char c = nnl_char_at(at, end);
        if (!test(c)) break;
        at += c.length;
    }
    return at;
}

static char lower(char c) { return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c; }

// Behind 's, 't, 're, 've, 'm, 'll or 'd; `at` where there is none.
static const char *contraction(const char *at, const char *end, bool any_case) {
    if (end - at < 2 || *at != '\'') return at;
    char first = any_case ? lower(at[1]) : at[1];
    if (strchr("stmd", first) && first) return at + 2;
    if (end - at < 3) return at;
    char second = any_case ? lower(at[2]) : at[2];
    bool pair = ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
    return pair ? at + 3 : at;
}

// \s+(?!\S)|\s+ : white space but the last of it where something follows.
static const char *blanks(const char *at, const char *end) {
    const char *last = at, *behind = at;
    while (behind < end) {
        nnl_char c = nnl_char_at(behind, end);
        if (!is_space(c)) break;
        last = behind;
        behind += c.length;
    }
    return behind < end && last > at ? last : behind;
}

// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+   (Radford et al. 2019)
static const char *gpt2(const char *at, const char *end) {
    const char *behind = contraction(at, end, false), *start = *at == ' ' && end - at > 1 ? at + 1 : at;
    if (behind > at) return behind;
    nnl_char c = nnl_char_at(start, end);
    if (is_space(c)) return blanks(at, end);
    return run(start, end, is_letter(c) ? is_letter : is_number(c) ? is_number : is_sign, SIZE_MAX);
}

// Digits stand by themselves: the rule sees what is between them.
static const char *gpt2_digits(nnl_split *s) {
    nnl_char c = nnl_char_at(s->at, s->end);
    if (is_number(c)) return s->at + c.length;
    if (!s->limit || s->limit <= s->at) {
        s->limit = s->at;
        while (s->limit < s->end && !is_number(c = nnl_char_at(s->limit, s->end))) s->limit += c.length;
    }
    return gpt2(s->at, s->limit);
}

// \s*[\r\n]+|\s+(?!\S)|\s+
static const char *gpt4_blanks(const char *at, const char *end) {
    const char *line = NULL;
    for (const char *next = at; next < end;) {
        nnl_char c = nnl_char_at(next, end);
        if (!is_space(c)) break;
        next += c.length;
        if (is_newline(c)) line = next;
    }
    return line ? line : blanks(at, end);
}

// (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|...
static const char *gpt4(const char *at, const char *end, uint32_t digits) {
    const char *behind = contraction(at, end, true);
    if (behind > at) return behind;
    nnl_char c = nnl_char_at(at, end);
    const char *next = at + c.length;
    if (is_letter(c)) return run(at, end, is_letter, SIZE_MAX);
    if (is_number(c)) return run(at, end, is_number, digits > 0 ? digits : SIZE_MAX);
    if (!is_newline(c) && next < end && is_letter(nnl_char_at(next, end)))
        return run(next, end, is_letter, SIZE_MAX);
    const char *start = c.code == ' ' ? next : at;
    behind = run(start, end, is_sign, SIZE_MAX);
    if (behind > start) return run(behind, end, is_newline, SIZE_MAX);
    return gpt4_blanks(at, end);
}

// ---- words

// Whether a sign within a word holds it together: don't, well-known, 3.5, 1,000.
static bool joins(nnl_char before, nnl_char sign, nnl_char after) {
    if (is_number(before) && is_number(after)) return sign.code == '.' || sign.code == ',';
    if (!is_word(before) || !is_letter(after)) return false;
    return sign.code == '\'' || sign.code == 0x2019 || sign.code == '-';
}

static const char *word(const char *at, const char *end) {
    nnl_char c = nnl_char_at(at, end), sign;
    const char *short_form = contraction(at, end, true);
    if (short_form > at && (short_form == end || !is_word(nnl_char_at(short_form, end)))) return short_form;
    if (!is_word(c)) return at + c.length;
    for (;;) {
        do {
            at += c.length;
            if (at == end) return at;
            sign = nnl_char_at(at, end);
            if (is_word(sign)) c = sign;
        } while (is_word(sign));
        const char *after = at + sign.length;
        if (after == end || !joins(c, sign, nnl_char_at(after, end))) return at;
        at = after;
        c = nnl_char_at(at, end);
    }
}

static bool is_solid(nnl_char c) { return !is_space(c); }

// ----

static const char *next_end(nnl_split *s) {
    switch (s->rule) {
    case NNL_SPLIT_GPT2:
        return s->digits == 1 ? gpt2_digits(s) : gpt2(s->at, s->end);
    case NNL_SPLIT_GPT4:
        return gpt4(s->at, s->end, s->digits);
    case NNL_SPLIT_CHARACTERS:
        return s->at + nnl_char_at(s->at, s->end).length;
    case NNL_SPLIT_SPACES:
        return run(s->at, s->end, is_solid, SIZE_MAX);
    case NNL_SPLIT_WORDS:
        return word(s->at, s->end);
    case NNL_SPLIT_NONE:
        break;
    }
    return s->end;
}

size_t nnl_split_next(nnl_split *s, const char **piece) {
    if (s->rule == NNL_SPLIT_SPACES || s->rule == NNL_SPLIT_WORDS)
        s->at = run(s->at, s->end, is_space, SIZE_MAX);
    *piece = s->at;
    if (s->at < s->end) s->at = next_end(s);
    return (size_t)(s->at - *piece);
}
