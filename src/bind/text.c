// text.c: core.text: tokenizers and counters of pieces as userdata, and functions of strings. What scripts
// see of them is made in lua/nnlua/text/, which checks the arguments.
#include "bind/bind.h"
#include "data/bpe.h"
#include "io/utf8.h"

#include <string.h>

static const char *const rules[] = {"none", "gpt2", "gpt4", "characters", "spaces", "words", NULL};

static nnl_bpe *check_tokenizer(lua_State *L, const nnl_bind *bind) {
    nnl_bpe *bpe = nnl_to_object(L, bind, 1, NNL_KEPT_TOKENIZER);
    if (!bpe) nnl_type_error(L, bind, 1, "tokenizer");
    return bpe;
}

static nnl_bpe_trainer *check_counter(lua_State *L, const nnl_bind *bind) {
    nnl_bpe_trainer *counter = nnl_to_object(L, bind, 1, NNL_KEPT_COUNTER);
    if (!counter) nnl_type_error(L, bind, 1, "counter");
    return counter;
}

static nnl_word check_text(lua_State *L, int arg) {
    nnl_word word;
    word.text = luaL_checklstring(L, arg, &word.length);
    return word;
}

static uint32_t check_id(lua_State *L, const nnl_bind *bind, const nnl_bpe *bpe, int arg) {
    int64_t id = nnl_check_integer(L, bind, arg);
    if (id < 1 || id > nnl_bpe_size(bpe))
        nnl_error(L, "expected an id from 1 to %I, got %I", (LUAI_UACINT)nnl_bpe_size(bpe), (LUAI_UACINT)id);
    return (uint32_t)id;
}

// ---- strings that the engine makes

static int push_bytes(lua_State *L) {
    const nnl_bytes *bytes = lua_touserdata(L, 1);
    lua_pushlstring(L, bytes->length > 0 ? bytes->data : "", bytes->length);
    return 1;
}

static void free_bytes(void *bytes) { nnl_bytes_free(bytes); }

// After nnl_push_holding(L, push_bytes, out).
static int finish_bytes(lua_State *L, nnl_bind *bind, nnl_bytes *out, nnl_status status) {
    if (status == NNL_OK) return nnl_run_holding(L, 0, 1, free_bytes, out);
    nnl_bytes_free(out);
    return nnl_raise(L, bind);
}

// text.lower(string)
static int text_lower(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes out = {.ctx = bind->ctx};
    nnl_word text = check_text(L, 1);
    nnl_push_holding(L, push_bytes, &out);
    return finish_bytes(L, bind, &out, nnl_text_lower(&out, text.text, text.length));
}

// text.letters(string): its bytes in GPT-2's letters.
static int text_letters(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes out = {.ctx = bind->ctx};
    nnl_word text = check_text(L, 1);
    nnl_push_holding(L, push_bytes, &out);
    return finish_bytes(L, bind, &out, nnl_alphabet_write(&out, text.text, text.length));
}

// text.bytes(string): what text in these letters stands for, or nil.
static int text_bytes(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bytes out = {.ctx = bind->ctx};
    nnl_word text = check_text(L, 1);
    bool read = false;
    nnl_push_holding(L, push_bytes, &out);
    nnl_status status = nnl_alphabet_read(&out, text.text, text.length, &read);
    if (status != NNL_OK || read) return finish_bytes(L, bind, &out, status);
    nnl_bytes_free(&out);
    return 0;
}

// text.is_utf8(string)
static int text_is_utf8(lua_State *L) {
    nnl_word text = check_text(L, 1);
    const char *at = text.text, *end = at + text.length;
    size_t length = 0;
    while (at < end && (length = nnl_utf8_length(at, end)) > 0) at += length;
    lua_pushboolean(L, at == end);
    return 1;
}

// text.order(): the bytes in the order of GPT-2's letters, in one string.
static int text_order(lua_State *L) {
    uint8_t order[256];
    nnl_alphabet_order(order);
    lua_pushlstring(L, (const char *)order, sizeof order);
    return 1;
}

// text.split(string, rule[, digits]): a list of pieces.
static int text_split(lua_State *L) {
    nnl_word text = check_text(L, 1);
    nnl_split split = {.rule = (nnl_split_rule)luaL_checkoption(L, 2, NULL, rules),
                       .digits = (uint32_t)luaL_optinteger(L, 3, 0),
                       .at = text.text,
                       .end = text.text + text.length};
    const char *piece;
    size_t size;
    lua_settop(L, 3);
    lua_newtable(L);
    for (lua_Integer i = 1; (size = nnl_split_next(&split, &piece)) > 0; i++) {
        lua_pushlstring(L, piece, size);
        lua_rawseti(L, 4, i);
    }
    return 1;
}

// ---- making a tokenizer of a table; the table is at 1, the tokenizer at 2

enum { PARTS = 1, TOKENIZER };

static uint32_t whole_field(lua_State *L, const char *name) {
    int64_t value = 0;
    lua_getfield(L, PARTS, name);
    if (!lua_isnil(L, -1) && (!nnl_lua_to_integer(L, -1, &value) || value < 0 || value > INT32_MAX))
        nnl_error(L, "%s must be a whole number", name);
    lua_pop(L, 1);
    return (uint32_t)value;
}

static bool flag_field(lua_State *L, int table, const char *name) {
    lua_getfield(L, table, name);
    bool flag = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

static int choice_field(lua_State *L, const char *name, const char *const *choices) {
    lua_getfield(L, PARTS, name);
    int choice = luaL_checkoption(L, -1, choices[0], choices);
    lua_pop(L, 1);
    return choice;
}

// The list of this name onto the stack; its length.
static size_t push_list(lua_State *L, const char *name) {
    lua_getfield(L, PARTS, name);
    luaL_checktype(L, -1, LUA_TTABLE);
    return (size_t)lua_rawlen(L, -1);
}

// tokens: texts, or false for ids of nothing. plain: by id, those whose text is not in letters.
static nnl_status add_tokens(lua_State *L, nnl_bpe *bpe) {
    nnl_status status = NNL_OK;
    size_t count = push_list(L, "tokens");
    lua_getfield(L, PARTS, "plain");
    luaL_checktype(L, -1, LUA_TTABLE);
    for (size_t i = 1; i <= count && status == NNL_OK; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i);
        lua_rawgeti(L, -2, (lua_Integer)i);
        nnl_word word = {.text = NULL};
        if (lua_type(L, -2) == LUA_TSTRING) word.text = lua_tolstring(L, -2, &word.length);
        status = nnl_bpe_add_token(bpe, word.text, word.length, lua_toboolean(L, -1));
        lua_pop(L, 2);
    }
    lua_pop(L, 2);
    return status == NNL_OK ? nnl_bpe_seal(bpe) : status;
}

// specials: a list of {id = , strips_left = , strips_right = , shown = }
static nnl_status add_specials(lua_State *L, const nnl_bind *bind, nnl_bpe *bpe) {
    nnl_status status = NNL_OK;
    size_t count = push_list(L, "specials");
    for (size_t i = 1; i <= count && status == NNL_OK; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        int table = lua_gettop(L);
        luaL_checktype(L, table, LUA_TTABLE);
        lua_getfield(L, table, "id");
        nnl_bpe_special special = {.id = check_id(L, bind, bpe, table + 1),
                                   .strips_left = flag_field(L, table, "strips_left"),
                                   .strips_right = flag_field(L, table, "strips_right"),
                                   .shown = flag_field(L, table, "shown")};
        status = nnl_bpe_add_special(bpe, special);
        lua_settop(L, table - 1);
    }
    lua_pop(L, 1);
    return status;
}

// The merge on top: "a b", or {"a", "b"}.
static nnl_status add_merge(lua_State *L, nnl_bpe *bpe) {
    nnl_word both = {.text = NULL}, right = {.text = NULL};
    if (lua_type(L, -1) == LUA_TSTRING) {
        both.text = lua_tolstring(L, -1, &both.length);
        const char *blank = memchr(both.text, ' ', both.length);
        size_t left = blank ? (size_t)(blank - both.text) : 0;
        if (blank) right = (nnl_word){blank + 1, both.length - left - 1};
        both.length = left;
    } else if (lua_type(L, -1) == LUA_TTABLE) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        if (lua_type(L, -2) == LUA_TSTRING) both.text = lua_tolstring(L, -2, &both.length);
        if (lua_type(L, -1) == LUA_TSTRING) right.text = lua_tolstring(L, -1, &right.length);
        lua_pop(L, 2);
    }
    if (both.text && right.text) return nnl_bpe_add_merge(bpe, both, right); // the table holds the texts
    return nnl_fail(bpe->ctx, NNL_ERR_ARGUMENT, "merge %u: expected two texts", bpe->merge_count + 1);
}

// merges: the text of merges.txt, or a list.
static nnl_status add_merges(lua_State *L, nnl_bpe *bpe) {
    nnl_status status = NNL_OK;
    lua_getfield(L, PARTS, "merges");
    if (lua_type(L, -1) == LUA_TSTRING) {
        nnl_word text = check_text(L, -1);
        status = nnl_bpe_add_merges(bpe, text.text, text.length);
    } else if (lua_type(L, -1) == LUA_TTABLE) {
        size_t count = (size_t)lua_rawlen(L, -1);
        for (size_t i = 1; i <= count && status == NNL_OK; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i);
            status = add_merge(L, bpe);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return status;
}

// text.tokenizer{kind, tokens, plain, specials, merges, rule, digits, unknown, prefix, whole}: a tokenizer;
// nil and a message where the parts do not fit together.
static int text_tokenizer(lua_State *L) {
    static const char *const kinds[] = {"bytes", "characters", "pieces", NULL};
    nnl_bind *bind = nnl_bind_of(L);
    luaL_checktype(L, PARTS, LUA_TTABLE);
    lua_settop(L, PARTS);
    int kind = choice_field(L, "kind", kinds);
    nnl_bpe **slot = (nnl_bpe **)nnl_push_object(L, bind, NNL_KEPT_TOKENIZER);
    *slot = nnl_bpe_new(bind->ctx, (nnl_bpe_kind)kind);
    if (!*slot) return nnl_raise(L, bind);
    (*slot)->rule = (nnl_split_rule)choice_field(L, "rule", rules);
    (*slot)->digits = whole_field(L, "digits");
    (*slot)->prefix = flag_field(L, PARTS, "prefix");
    (*slot)->whole = flag_field(L, PARTS, "whole");
    nnl_status status = add_tokens(L, *slot);
    if (status == NNL_OK) status = add_specials(L, bind, *slot);
    if (status == NNL_OK) status = add_merges(L, *slot);
    (*slot)->unknown = whole_field(L, "unknown");
    if (status == NNL_OK && (*slot)->unknown > nnl_bpe_size(*slot)) nnl_error(L, "unknown: no such id");
    lua_settop(L, TOKENIZER);
    if (status == NNL_OK) return 1;
    if (status != NNL_ERR_ARGUMENT) return nnl_raise(L, bind);
    lua_pushnil(L);
    lua_pushstring(L, bind->ctx->error);
    return 2;
}

static int tokenizer_gc(lua_State *L) {
    nnl_bpe **object = lua_touserdata(L, 1), *bpe = *object;
    *object = NULL;
    nnl_bpe_free(bpe);
    return 0;
}

// ---- asking a tokenizer

// Takes what is in `ids`. Returns new.
static nnl_tensor *tensor_of(nnl_context *ctx, nnl_bytes *ids, nnl_status status) {
    nnl_shape shape = {.ndim = 1, .size = {(int64_t)(ids->length / sizeof(int64_t))}};
    nnl_tensor *t = status == NNL_OK ? nnl_tensor_new(ctx, NNL_INT64, &shape) : NULL;
    if (t && ids->length > 0) memcpy(nnl_tensor_data(t), ids->data, ids->length);
    nnl_bytes_free(ids);
    return t;
}

// text.encode(tokenizer, string, specials): ids, int64 (T).
static int text_encode(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bpe *bpe = check_tokenizer(L, bind);
    nnl_word text = check_text(L, 2);
    nnl_bytes ids = {.ctx = bind->ctx};
    nnl_tensor **slot = nnl_push_slot(L, bind);
    nnl_status status = nnl_bpe_encode(bpe, text.text, text.length, lua_toboolean(L, 3), &ids);
    return nnl_fill_slot(L, bind, slot, tensor_of(bind->ctx, &ids, status));
}

// text.decode(tokenizer, ids, specials): bytes.
static int text_decode(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_bpe *bpe = check_tokenizer(L, bind);
    nnl_bytes out = {.ctx = bind->ctx};
    lua_settop(L, 3);
    nnl_int_list ids = nnl_check_integers(L, bind, 2);
    nnl_push_holding(L, push_bytes, &out);
    return finish_bytes(L, bind, &out, nnl_bpe_decode(bpe, ids.items, ids.count, lua_toboolean(L, 3), &out));
}

// text.pieces(tokenizer, ids): a list of the bytes of each token.
static int text_pieces(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_bpe *bpe = check_tokenizer(L, bind);
    lua_settop(L, 2);
    nnl_int_list ids = nnl_check_integers(L, bind, 2);
    lua_createtable(L, (int)ids.count, 0);
    for (size_t i = 0; i < ids.count; i++) {
        if (ids.items[i] < 1 || ids.items[i] > nnl_bpe_size(bpe))
            return nnl_error(L, "expected ids from 1 to %I, got %I", (LUAI_UACINT)nnl_bpe_size(bpe),
                             (LUAI_UACINT)ids.items[i]);
        nnl_word word = nnl_bpe_token(bpe, (uint32_t)ids.items[i]);
        lua_pushlstring(L, word.text, word.length);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

// text.id(tokenizer, bytes): the id of the token, or nil.
static int text_id(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_bpe *bpe = check_tokenizer(L, bind);
    nnl_word word = check_text(L, 2);
    uint32_t id = nnl_bpe_id(bpe, word.text, word.length);
    if (id == 0) return 0;
    lua_pushinteger(L, (lua_Integer)id);
    return 1;
}

static int text_size(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    lua_pushinteger(L, (lua_Integer)nnl_bpe_size(check_tokenizer(L, bind)));
    return 1;
}

// text.merges(tokenizer): a list of ids, left and right of each merge one after the other.
static int text_merges(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_bpe *bpe = check_tokenizer(L, bind);
    lua_createtable(L, (int)bpe->merge_count * 2, 0);
    for (uint32_t i = 0; i < bpe->merge_count; i++) {
        uint32_t left, right;
        nnl_bpe_merge(bpe, i, &left, &right);
        lua_pushinteger(L, (lua_Integer)left);
        lua_rawseti(L, -2, 2 * (lua_Integer)i + 1);
        lua_pushinteger(L, (lua_Integer)right);
        lua_rawseti(L, -2, 2 * (lua_Integer)i + 2);
    }
    return 1;
}

// ---- counting pieces, and training on the counts

// text.counter(rule[, digits])
static int text_counter(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_split_rule rule = (nnl_split_rule)luaL_checkoption(L, 1, NULL, rules);
    uint32_t digits = (uint32_t)luaL_optinteger(L, 2, 0);
    nnl_bpe_trainer **slot = (nnl_bpe_trainer **)nnl_push_object(L, bind, NNL_KEPT_COUNTER);
    *slot = nnl_bpe_trainer_new(bind->ctx, rule, digits);
    return *slot ? 1 : nnl_raise(L, bind);
}

static int counter_gc(lua_State *L) {
    nnl_bpe_trainer **object = lua_touserdata(L, 1), *counter = *object;
    *object = NULL;
    nnl_bpe_trainer_free(counter);
    return 0;
}

// text.count(counter, string)
static int text_count(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    nnl_bpe_trainer *counter = check_counter(L, bind);
    nnl_word text = check_text(L, 2);
    return nnl_bpe_trainer_add(counter, text.text, text.length) == NNL_OK ? 0 : nnl_raise(L, bind);
}

// text.counts(counter): a table of counts by piece.
static int text_counts(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_bpe_trainer *counter = check_counter(L, bind);
    lua_createtable(L, 0, (int)counter->words.count);
    for (uint32_t i = 0; i < counter->words.count; i++) {
        nnl_word word = nnl_words_get(&counter->words, i);
        lua_pushlstring(L, word.text, word.length);
        lua_pushinteger(L, (lua_Integer)((const int64_t *)(const void *)counter->counts.data)[i]);
        lua_rawset(L, -3);
    }
    return 1;
}

// text.train(counter, tokenizer, vocab_size, min_frequency, max_length): merges into the tokenizer.
static int text_train(lua_State *L) {
    nnl_bind *bind = nnl_bind_of(L);
    const nnl_bpe_trainer *counter = check_counter(L, bind);
    nnl_bpe *bpe = nnl_to_object(L, bind, 2, NNL_KEPT_TOKENIZER);
    if (!bpe) return nnl_type_error(L, bind, 2, "tokenizer");
    nnl_bpe_training how = {.vocab_size = (uint32_t)nnl_check_integer(L, bind, 3),
                            .min_frequency = nnl_check_integer(L, bind, 4),
                            .max_length = (size_t)nnl_check_integer(L, bind, 5)};
    return nnl_bpe_train(counter, &how, bpe) == NNL_OK ? 0 : nnl_raise(L, bind);
}

static const luaL_Reg functions[] = {
    {"bytes", text_bytes},     {"is_utf8", text_is_utf8},     {"lower", text_lower},
    {"letters", text_letters}, {"order", text_order},         {"split", text_split},
    {"encode", text_encode},   {"decode", text_decode},       {"pieces", text_pieces},
    {"id", text_id},           {"size", text_size},           {"merges", text_merges},
    {"counter", text_counter}, {"count", text_count},         {"counts", text_counts},
    {"train", text_train},     {"tokenizer", text_tokenizer}, {NULL, NULL},
};

void nnl_open_text(lua_State *L) {
    static const luaL_Reg of_tokenizer[] = {{"__gc", tokenizer_gc}, {NULL, NULL}};
    static const luaL_Reg of_counter[] = {{"__gc", counter_gc}, {NULL, NULL}};
    nnl_new_metatable(L, NNL_KEPT_TOKENIZER, "tokenizer", of_tokenizer);
    nnl_new_metatable(L, NNL_KEPT_COUNTER, "counter", of_counter);
    lua_newtable(L);
    nnl_set_functions(L, functions);
    lua_setfield(L, NNL_CORE_INDEX, "text");
}
