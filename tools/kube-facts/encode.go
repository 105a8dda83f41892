package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"reflect"
	"sort"
)

// encode lays the table out as crates/cluster-apiserver/src/facts/table.rs reads it.
func (f *facts) encode() ([]byte, error) {
	strings := newPool(f)
	if len(strings.list) >= 1<<16 || f.fieldCount() >= 1<<16 {
		return nil, fmt.Errorf("more than 65535 strings or fields")
	}
	typeIndex := map[reflect.Type]uint16{}
	for i, t := range f.types {
		typeIndex[t.source] = uint16(i)
	}
	var body bytes.Buffer
	put := func(values ...any) {
		for _, value := range values {
			binary.Write(&body, binary.LittleEndian, value)
		}
	}
	put(uint16(len(f.kinds)), uint16(len(f.types)), uint16(f.fieldCount()), uint16(len(strings.list)))
	for _, k := range f.kinds {
		put(strings.of(k.group), strings.of(k.version), strings.of(k.kind), typeIndex[k.typ])
	}
	first := 0
	for _, t := range f.types {
		flags := uint16(0)
		if t.atomic {
			flags |= 1
		}
		if t.root {
			flags |= 2
		}
		put(strings.of(t.name), strings.of(t.goName), uint16(first), uint16(len(t.fields)), flags)
		first += len(t.fields)
	}
	for _, t := range f.types {
		for _, field := range t.fields {
			message := uint16(0xffff)
			if field.message != nil {
				message = typeIndex[field.message]
			}
			if field.number > 255 || field.via[0] > 255 || field.via[1] > 255 {
				return nil, fmt.Errorf("%s.%s: protobuf number above 255", t.name, field.name)
			}
			put(strings.of(field.name), uint8(field.number), uint8(field.via[0]), uint8(field.via[1]))
			put(uint8(field.shape)<<6|uint8(field.value), message, field.flags)
			put(strings.of(field.goType), strings.of(field.mergeKey), strings.of(field.mapKeys))
			put(strings.of(field.defaults), strings.of(field.enum), strings.of(field.embedded))
		}
	}
	offset := uint32(0)
	for _, text := range strings.list {
		put(offset)
		offset += uint32(len(text))
	}
	put(offset)
	for _, text := range strings.list {
		body.WriteString(text)
	}
	digest := sha256.Sum256(body.Bytes())
	out := append([]byte("KFACTS01"), digest[:16]...)
	return append(out, body.Bytes()...), nil
}

type pool struct {
	list  []string
	index map[string]uint16
}

func newPool(f *facts) *pool {
	seen := map[string]bool{"": true}
	for _, k := range f.kinds {
		seen[k.group], seen[k.version], seen[k.kind] = true, true, true
	}
	for _, t := range f.types {
		seen[t.name], seen[t.goName] = true, true
		for _, field := range t.fields {
			for _, text := range []string{field.name, field.goType, field.mergeKey, field.mapKeys, field.defaults, field.enum, field.embedded} {
				seen[text] = true
			}
		}
	}
	p := &pool{index: map[string]uint16{}}
	for text := range seen {
		p.list = append(p.list, text)
	}
	sort.Strings(p.list)
	for i, text := range p.list {
		p.index[text] = uint16(i)
	}
	return p
}

func (p *pool) of(text string) uint16 { return p.index[text] }

// print writes the table for people.
func (f *facts) print(out io.Writer) {
	for _, k := range f.kinds {
		fmt.Fprintf(out, "kind %s/%s %s = %s\n", k.group, k.version, k.kind, f.index[k.typ].name)
	}
	for _, t := range f.types {
		fmt.Fprintf(out, "type %s (%s) atomic=%v\n", t.name, t.goName, t.atomic)
		for _, field := range t.fields {
			message := ""
			if field.message != nil {
				message = f.index[field.message].name
			}
			fmt.Fprintf(out, "  %s = %d via %v shape %d value %d %s flags %#x go %s", field.name, field.number, field.via,
				field.shape, field.value, message, field.flags, field.goType)
			fmt.Fprintf(out, " key %q keys %q default %s enum %s\n", field.mergeKey, field.mapKeys, field.defaults, field.enum)
		}
	}
}
