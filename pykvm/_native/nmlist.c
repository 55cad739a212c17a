/* Lists of names as text: System.map, nm(1), /proc/kallsyms. */
#include "core.h"

typedef struct {
    const char *at, *end;
} text_t;

static inline int is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* The next word of a line, moved over; empty at the line's end. */
static inline text_t word(text_t *line)
{
    text_t w;

    while (line->at < line->end && is_blank(*line->at))
        line->at++;
    w.at = line->at;
    while (line->at < line->end && !is_blank(*line->at) && *line->at != '\0')
        line->at++;
    w.end = line->at;
    return w;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* A number of up to 16 hexadecimal digits; 1 or 0. */
static int number(text_t w, uint64_t *out)
{
    *out = 0;
    if (w.at == w.end || w.end - w.at > 16)
        return 0;
    for (; w.at < w.end; w.at++) {
        const int d = digit(*w.at);
        if (d < 0)
            return 0;
        *out = *out << 4 | (uint64_t)d;
    }
    return 1;
}

static int is_type(text_t w)
{
    return w.end - w.at == 1 &&
           ((*w.at >= 'A' && *w.at <= 'Z') || (*w.at >= 'a' && *w.at <= 'z') || *w.at == '?');
}

/* 1: a symbol; 2: a blank line, or a name that is not defined; 0: neither. */
static int parse(text_t line, pk_symbol *s)
{
    const int indented = line.at < line.end && is_blank(*line.at);
    text_t w = word(&line), module;
    int defined = 0;

    *s = (pk_symbol){0};
    if (w.at == w.end)
        return line.at == line.end ? 2 : 0;
    if (!(indented && is_type(w))) {    /* nm(1) shows blanks for the address of what is not defined */
        if (!number(w, &s->value))
            return 0;
        defined = 1;
        w = word(&line);
        if (w.end - w.at > 1) {     /* nm -S */
            if (!number(w, &s->size))
                return 0;
            w = word(&line);
        }
    }
    if (!is_type(w))
        return 0;
    s->type = (uint8_t)*w.at;
    w = word(&line);
    if (w.at == w.end || w.end - w.at > 65535)
        return 0;
    s->name = w.at;
    s->name_len = (uint32_t)(w.end - w.at);
    module = word(&line);
    if (module.at < module.end && *module.at == '[') {
        if (module.end[-1] != ']' || module.end - module.at < 3 || module.end - module.at > 256)
            return 0;
        s->module = module.at + 1;
        s->module_len = (uint32_t)(module.end - module.at - 2);
        module = word(&line);
    }
    if (module.at < module.end || line.at < line.end)   /* one word too many, or a NUL */
        return 0;
    return defined && s->type != 'U' ? 1 : 2;
}

int pk_symtab_add_nmlist(pk_symtab *tab, pk_symtab *modules, const char *text, uint64_t size, uint64_t max,
                         pk_nmlist_result *result)
{
    const char *end = text + size;
    uint64_t number_of = 0;

    *result = (pk_nmlist_result){0};
    if (!pk_symtab_reserve(tab, size / 40 < max ? size / 40 : max))
        return -1;
    for (const char *at = text, *next; at < end; at = next) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        pk_symbol s;

        next = newline != NULL ? newline + 1 : end;
        number_of++;
        switch (parse((text_t){at, newline != NULL ? newline : end}, &s)) {
        case 0:
            result->line = number_of;
            result->begins = (uint64_t)(at - text);
            return 0;
        case 1:
            if (result->defined++ >= max ||
                !pk_symtab_append(s.module != NULL ? modules : tab, &s, (s.type | 0x20) != 'a' && s.type != 'N',
                                  s.type >= 'A' && s.type <= 'Z'))
                return -1;
            result->nonzero += s.value != 0;
        }
    }
    return 1;
}
