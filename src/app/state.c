// state.c: the program's Lua state. Lua tells the size of what it frees, so small blocks need no header:
// those of a size class wait in a list and come from chunks that are given back when the state closes. See
// state.h.
#include "app/state.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAIN 16
#define CLASSES 16 // up to 256 bytes

// The address sanitizer is to see every object by itself.
#if defined(__SANITIZE_ADDRESS__)
#define SMALL_LIMIT 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SMALL_LIMIT 0
#endif
#endif
#ifndef SMALL_LIMIT
#define SMALL_LIMIT ((size_t)GRAIN * CLASSES)
#endif
#define CHUNK ((size_t)1 << 16)

typedef struct block {
    struct block *next;
} block;

typedef struct chunk {
    struct chunk *next;
    size_t padding; // what follows is aligned to GRAIN
} chunk;

typedef struct memory {
    block *free_list[CLASSES];
    char *fresh; // of the newest chunk, not yet handed out
    size_t left;
    chunk *chunks;
    bool warnings_on, continued; // of warn
} memory;

// ---- memory

static bool add_chunk(memory *m) {
    chunk *new = malloc(CHUNK);
    if (!new) return false;
    new->next = m->chunks;
    m->chunks = new;
    m->fresh = (char *)(new + 1);
    m->left = CHUNK - sizeof *new;
    return true;
}

static size_t class_of(size_t size) { return (size - 1) / GRAIN; }
static bool is_small(size_t size) { return size > 0 && size <= SMALL_LIMIT; }

static void *take_small(memory *m, size_t class) {
    block *b = m->free_list[class];
    if (b) {
        m->free_list[class] = b->next;
        return b;
    }
    size_t bytes = (class + 1) * GRAIN;
    if (m->left < bytes && !add_chunk(m)) return NULL;
    void *taken = m->fresh;
    m->fresh += bytes;
    m->left -= bytes;
    return taken;
}

static void give_small(memory *m, void *taken, size_t class) {
    block *b = taken;
    b->next = m->free_list[class];
    m->free_list[class] = b;
}

static void *take(memory *m, size_t size) {
    return is_small(size) ? take_small(m, class_of(size)) : malloc(size);
}

static void give(memory *m, void *taken, size_t size) {
    if (is_small(size)) {
        give_small(m, taken, class_of(size));
    } else {
        free(taken);
    }
}

// Lua's allocator: `old` is the size of what `taken` points to.
static void *allocate(void *ud, void *taken, size_t old, size_t size) {
    memory *m = ud;
    if (!taken) return size > 0 ? take(m, size) : NULL;
    if (size == 0) {
        give(m, taken, old);
        return NULL;
    }
    if (!is_small(old) && !is_small(size)) return realloc(taken, size);
    if (is_small(old) && is_small(size) && class_of(old) == class_of(size)) return taken;
    void *moved = take(m, size);
    if (!moved) return NULL;
    memcpy(moved, taken, old < size ? old : size);
    give(m, taken, old);
    return moved;
}

static void free_chunks(memory *m) {
    while (m->chunks) {
        chunk *next = m->chunks->next;
        free(m->chunks);
        m->chunks = next;
    }
}

// ---- what else a state of Lua's own library has

// Messages in pieces; one piece alone that begins with @ switches.
static void warn(void *ud, const char *text, int more) {
    memory *m = ud;
    if (!m->continued && !more && text[0] == '@') {
        if (strcmp(text, "@on") == 0) m->warnings_on = true;
        if (strcmp(text, "@off") == 0) m->warnings_on = false;
        return;
    }
    if (m->warnings_on) {
        fprintf(stderr, "%s%s%s", m->continued ? "" : "Lua warning: ", text, more ? "" : "\n");
        fflush(stderr);
    }
    m->continued = more != 0;
}

static int panic(lua_State *L) {
    const char *text = lua_tostring(L, -1);
    fprintf(stderr, "PANIC: unprotected error in call to Lua API (%s)\n", text ? text : "no text");
    fflush(stderr);
    return 0;
}

// The program has one state; this lasts as long as the process, as a script's os.exit may close it.
static memory only;

lua_State *nnl_state_new(void) {
    lua_State *L = lua_newstate(allocate, &only);
    if (!L) {
        free_chunks(&only);
        return NULL;
    }
    lua_atpanic(L, panic);
    lua_setwarnf(L, warn, &only);
    return L;
}

void nnl_state_close(lua_State *L) {
    lua_close(L);
    free_chunks(&only);
}
