/* SPDX-License-Identifier: Apache-2.0 */
/* Messages as JSON, from their descriptors. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "cmd/api.h"

#define ENUM_ZERO "UNSPECIFIED"

/* "VOLUME_STATE_READY" is "ready": the prefix is what the value 0 has before UNSPECIFIED. */
static json_t *enum_json(const ProtobufCEnumDescriptor *type, int number)
{
    const ProtobufCEnumValue *zero = protobuf_c_enum_descriptor_get_value(type, 0);
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);
    char word[64];

    if (value == NULL || zero == NULL || strlen(zero->name) < strlen(ENUM_ZERO))
        return json_integer(number);
    const size_t prefix = strlen(zero->name) - strlen(ENUM_ZERO);
    snprintf(word, sizeof word, "%s", value->name + prefix);
    for (char *c = word; *c != '\0'; c++)
        *c = (char)tolower((unsigned char)*c);
    return json_string(word);
}

static json_t *bytes_json(const ProtobufCBinaryData *data)
{
    char text[2 * 64 + 1] = "";
    for (size_t i = 0; i < data->len && i < 64; i++)
        snprintf(text + 2 * i, 3, "%02x", data->data[i]);
    return json_string(text);
}

/* The value that lies at the address. */
static json_t *value_json(const ProtobufCFieldDescriptor *field, const void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return json_string(*(char *const *)at);
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *message = *(const ProtobufCMessage *const *)at;
        return message != NULL ? api_json(message) : json_null();
    }
    case PROTOBUF_C_TYPE_ENUM:
        return enum_json(field->descriptor, *(const int *)at);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_UINT32:
        return json_integer(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
        return json_integer((json_int_t) * (const uint64_t *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_real(*(const double *)at);
    case PROTOBUF_C_TYPE_BYTES:
        return bytes_json(at);
    default:
        return json_null(); /* The API has no other types. */
    }
}

static size_t value_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(uint64_t);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    default:
        return sizeof(uint32_t);
    }
}

static json_t *field_json(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    const uint8_t *base = (const uint8_t *)message;
    const void *at = base + field->offset;
    size_t count;

    if (field->label != PROTOBUF_C_LABEL_REPEATED)
        return value_json(field, at);
    memcpy(&count, base + field->quantifier_offset, sizeof count);
    const uint8_t *array = *(const uint8_t *const *)at;
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, value_json(field, array + i * value_bytes(field->type)));
    return list;
}

json_t *api_json(const ProtobufCMessage *message)
{
    json_t *object = json_object();
    for (unsigned i = 0; i < message->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &message->descriptor->fields[i];
        json_object_set_new(object, field->name, field_json(message, field));
    }
    return object;
}
