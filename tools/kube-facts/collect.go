package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sort"
	"strconv"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/generated/openapi"
)

// What one value is. The numbers are part of the table's layout.
type value uint8

const (
	valueBool value = iota + 1
	valueInt32
	valueInt64
	valueFloat64
	valueString
	valueBytes
	valueTime
	valueMicroTime
	valueQuantity
	valueIntOrString
	valueRawExtension
	valueFieldsV1
	valueJSON
	valueSchemaOrBool
	valueSchemaOrArray
	valueSchemaOrStringArray
	valueMessage
	valueStringList // a message of one repeated string, a plain list in JSON
)

// How many of them a field holds.
type shape uint8

const (
	shapeOne shape = iota
	shapeList
	shapeMap
)

const (
	flagPointer = 1 << iota
	flagOmitEmpty
	flagOmitZero
	flagRequired
	flagTypeMeta // apiVersion or kind of an embedded TypeMeta: not in protobuf
	flagListAtomic
	flagListSet
	flagListMap
	flagMapAtomic
	flagPatchMerge
	flagPatchReplace
	flagPatchRetainKeys
)

type fieldFact struct {
	name     string
	number   uint32
	via      [2]uint32 // protobuf numbers of the embedding messages, outermost first
	embedded string    // Go's names of the embedding fields, each followed by a dot
	shape    shape
	value    value
	message  reflect.Type
	goType   string
	flags    uint16
	mergeKey string
	mapKeys  string
	defaults string
	enum     string
}

type typeFact struct {
	name   string // of the OpenAPI definition
	goName string // as Go's error messages have it
	atomic bool
	root   bool
	fields []fieldFact
	source reflect.Type
}

type kindFact struct {
	group, version, kind string
	typ                  reflect.Type
}

type facts struct {
	kinds []kindFact
	types []*typeFact
	index map[reflect.Type]*typeFact
}

func (f *facts) fieldCount() int {
	n := 0
	for _, t := range f.types {
		n += len(t.fields)
	}
	return n
}

var specials = map[reflect.Type]value{
	reflect.TypeOf(metav1.Time{}):                                  valueTime,
	reflect.TypeOf(metav1.MicroTime{}):                             valueMicroTime,
	reflect.TypeOf(resource.Quantity{}):                            valueQuantity,
	reflect.TypeOf(intstr.IntOrString{}):                           valueIntOrString,
	reflect.TypeOf(runtime.RawExtension{}):                         valueRawExtension,
	reflect.TypeOf(metav1.FieldsV1{}):                              valueFieldsV1,
	reflect.TypeOf(apiextensionsv1.JSON{}):                         valueJSON,
	reflect.TypeOf(apiextensionsv1.JSONSchemaPropsOrBool{}):        valueSchemaOrBool,
	reflect.TypeOf(apiextensionsv1.JSONSchemaPropsOrArray{}):       valueSchemaOrArray,
	reflect.TypeOf(apiextensionsv1.JSONSchemaPropsOrStringArray{}): valueSchemaOrStringArray,
}

type collector struct {
	facts
	definitions map[string]common.OpenAPIDefinition
	queue       []reflect.Type
}

func collect(roots []root) (*facts, error) {
	c := &collector{facts: facts{index: map[reflect.Type]*typeFact{}}}
	c.definitions = openapi.GetOpenAPIDefinitions(func(name string) spec.Ref { return spec.MustCreateRef("#/" + name) })
	for _, r := range roots {
		c.kinds = append(c.kinds, kindFact{r.group, r.version, r.kind.Name(), r.kind})
		c.want(r.kind).root = true
	}
	for len(c.queue) > 0 {
		t := c.queue[0]
		c.queue = c.queue[1:]
		if err := c.describe(c.index[t]); err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
	}
	sort.Slice(c.types, func(i, j int) bool { return c.types[i].name < c.types[j].name })
	sort.Slice(c.kinds, func(i, j int) bool {
		a, b := c.kinds[i], c.kinds[j]
		return a.group+"\x00"+a.version+"\x00"+a.kind < b.group+"\x00"+b.version+"\x00"+b.kind
	})
	return &c.facts, nil
}

func (c *collector) want(t reflect.Type) *typeFact {
	if known, ok := c.index[t]; ok {
		return known
	}
	fact := &typeFact{goName: t.String(), source: t, name: modelName(t)}
	c.index[t] = fact
	c.types = append(c.types, fact)
	c.queue = append(c.queue, t)
	return fact
}

func modelName(t reflect.Type) string {
	if named, ok := reflect.New(t).Elem().Interface().(interface{ OpenAPIModelName() string }); ok {
		return named.OpenAPIModelName()
	}
	return ""
}

func (c *collector) describe(t *typeFact) error {
	definition, ok := c.definitions[t.name]
	if !ok {
		return fmt.Errorf("no OpenAPI definition %q", t.name)
	}
	t.atomic = definition.Schema.Extensions["x-kubernetes-map-type"] == "atomic"
	if err := c.fields(t, t.source, embedding{}, 0); err != nil {
		return err
	}
	required := map[string]bool{}
	for _, name := range definition.Schema.Required {
		required[name] = true
	}
	for i := range t.fields {
		f := &t.fields[i]
		if required[f.name] {
			f.flags |= flagRequired
		}
		property, ok := definition.Schema.Properties[f.name]
		if !ok {
			return fmt.Errorf("no OpenAPI property %q", f.name)
		}
		if err := annotate(f, property); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	if len(t.fields) != len(definition.Schema.Properties) {
		return fmt.Errorf("%d fields, %d OpenAPI properties", len(t.fields), len(definition.Schema.Properties))
	}
	sort.Slice(t.fields, func(i, j int) bool { return t.fields[i].name < t.fields[j].name })
	return nil
}

// embedding is where the fields of an embedded struct are found.
type embedding struct {
	via   [2]uint32
	names string
}

// fields adds the JSON fields of a struct, those of embedded structs included.
func (c *collector) fields(t *typeFact, source reflect.Type, at embedding, depth int) error {
	for i := range source.NumField() {
		field := source.Field(i)
		tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
		if tag == "-" {
			continue
		}
		number, err := protobufNumber(field.Tag.Get("protobuf"))
		if err != nil {
			return fmt.Errorf("%s: %w", field.Name, err)
		}
		if tag == "" {
			if !field.Anonymous && !strings.Contains(options, "inline") {
				return fmt.Errorf("%s: neither named nor inline", field.Name)
			}
			inner, next := at, depth
			if number != 0 {
				if depth >= len(at.via) {
					return fmt.Errorf("%s: embedded too deep", field.Name)
				}
				inner.via[depth] = number
				inner.names += field.Name + "."
				next++
			}
			if err := c.fields(t, field.Type, inner, next); err != nil {
				return err
			}
			continue
		}
		fact := fieldFact{name: tag, number: number, via: at.via, embedded: at.names}
		if source == reflect.TypeOf(metav1.TypeMeta{}) && number != 0 && at.via == [2]uint32{} {
			fact.number = 0
			fact.flags |= flagTypeMeta
		} else if number == 0 {
			return fmt.Errorf("%s: no protobuf number", field.Name)
		}
		for _, option := range strings.Split(options, ",") {
			switch option {
			case "omitempty":
				fact.flags |= flagOmitEmpty
			case "omitzero":
				fact.flags |= flagOmitZero
			}
		}
		if err := c.classify(&fact, field.Type); err != nil {
			return fmt.Errorf("%s: %w", field.Name, err)
		}
		strategies := strings.Split(field.Tag.Get("patchStrategy"), ",")
		for _, strategy := range strategies {
			switch strategy {
			case "merge":
				fact.flags |= flagPatchMerge
			case "replace":
				fact.flags |= flagPatchReplace
			case "retainKeys":
				fact.flags |= flagPatchRetainKeys
			case "":
			default:
				return fmt.Errorf("%s: patch strategy %q", field.Name, strategy)
			}
		}
		fact.mergeKey = field.Tag.Get("patchMergeKey")
		t.fields = append(t.fields, fact)
	}
	return nil
}

func protobufNumber(tag string) (uint32, error) {
	if tag == "" {
		return 0, nil
	}
	parts := strings.Split(tag, ",")
	if len(parts) < 2 {
		return 0, fmt.Errorf("protobuf tag %q", tag)
	}
	number, err := strconv.ParseUint(parts[1], 10, 16)
	return uint32(number), err
}

func (c *collector) classify(f *fieldFact, t reflect.Type) error {
	if t.Kind() == reflect.Pointer {
		f.flags |= flagPointer
		t = t.Elem()
	}
	f.goType = t.String()
	if _, special := specials[t]; !special && t.Kind() == reflect.Slice && t.Elem().Kind() != reflect.Uint8 {
		f.shape = shapeList
		t = t.Elem()
	} else if t.Kind() == reflect.Map {
		if t.Key().Kind() != reflect.String {
			return fmt.Errorf("map key %s", t.Key())
		}
		f.shape = shapeMap
		t = t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		return fmt.Errorf("pointers inside %s", f.goType)
	}
	var err error
	f.value, err = valueOf(t)
	if err != nil {
		return err
	}
	if f.value == valueMessage {
		f.message = t
		c.want(t)
	}
	if f.value >= valueSchemaOrBool && f.value <= valueSchemaOrStringArray {
		f.message = reflect.TypeOf(apiextensionsv1.JSONSchemaProps{})
		c.want(f.message)
	}
	return nil
}

func valueOf(t reflect.Type) (value, error) {
	if special, ok := specials[t]; ok {
		return special, nil
	}
	switch t.Kind() {
	case reflect.Bool:
		return valueBool, nil
	case reflect.Int32:
		return valueInt32, nil
	case reflect.Int64:
		return valueInt64, nil
	case reflect.Float64:
		return valueFloat64, nil
	case reflect.String:
		return valueString, nil
	case reflect.Struct:
		return valueMessage, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return valueBytes, nil
		}
		if t.Elem().Kind() == reflect.String && t.Name() != "" {
			return valueStringList, nil
		}
	}
	return 0, fmt.Errorf("a value of type %s is not foreseen", t)
}

// annotate adds what only the OpenAPI definition of a field says, and checks what both say.
func annotate(f *fieldFact, property spec.Schema) error {
	switch property.Extensions["x-kubernetes-list-type"] {
	case nil:
	case "atomic":
		f.flags |= flagListAtomic
	case "set":
		f.flags |= flagListSet
	case "map":
		f.flags |= flagListMap
		keys, ok := property.Extensions["x-kubernetes-list-map-keys"].([]interface{})
		if !ok {
			return fmt.Errorf("list map keys %v", property.Extensions["x-kubernetes-list-map-keys"])
		}
		var names []string
		for _, key := range keys {
			names = append(names, key.(string))
		}
		f.mapKeys = strings.Join(names, ",")
	default:
		return fmt.Errorf("list type %v", property.Extensions["x-kubernetes-list-type"])
	}
	if property.Extensions["x-kubernetes-map-type"] == "atomic" {
		f.flags |= flagMapAtomic
	}
	if key, ok := property.Extensions["x-kubernetes-patch-merge-key"].(string); ok && key != f.mergeKey {
		return fmt.Errorf("merge key %q in the tag, %q in OpenAPI", f.mergeKey, key)
	}
	if property.Default != nil {
		text, err := json.Marshal(property.Default)
		if err != nil {
			return err
		}
		f.defaults = string(text)
	}
	enum := property.Enum
	if len(enum) == 0 && property.Items != nil && property.Items.Schema != nil {
		enum = property.Items.Schema.Enum
	}
	if len(enum) > 0 {
		text, err := json.Marshal(enum)
		if err != nil {
			return err
		}
		f.enum = string(text)
	}
	return nil
}
