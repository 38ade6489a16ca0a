package link_test

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/base64"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery/consul"
	"github.com/linkmesh/link/security"
)

// secretTypes returns pointers to new values of the exported types that may hold a secret.
func secretTypes() []any {
	return []any{new(link.Config), new(consul.Config), new(security.SVID), new(security.Hidden)}
}

// innocent maps exported fields that sound like secrets to the reason why they are not.
func innocent() map[string]string {
	return map[string]string{
		"consul.Config.TokenFile":   "the name of a file",
		"security.SVID.Certificate": "SVID hides it",
		"securitytest.Leaf.Key":     "made by a test, for a test",
	}
}

const planted = "s3cr3t-that-must-not-show"

// plant sets every exported field of v whose type holds a secret.
func plant(t *testing.T, v reflect.Value, src security.Source) {
	t.Helper()
	svid, err := src.SVID()
	if err != nil {
		t.Fatal(err)
	}
	switch v.Type() {
	case reflect.TypeFor[security.Hidden]():
		v.Set(reflect.ValueOf(security.Hide(planted)))
		return
	case reflect.TypeFor[security.SVID]():
		v.Set(reflect.ValueOf(*svid))
		return
	case reflect.TypeFor[security.Source]():
		v.Set(reflect.ValueOf(src))
		return
	}
	if v.Kind() == reflect.Struct {
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				plant(t, v.Field(i), src)
			}
		}
	}
}

// secretForms maps each secret to the texts in which it could show.
func secretForms(t *testing.T, src security.Source, cluster string) map[string][]string {
	t.Helper()
	svid, err := src.SVID()
	if err != nil {
		t.Fatal(err)
	}
	key, ok := svid.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key is a %T", svid.Certificate.PrivateKey)
	}
	raw, err := key.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	forms := map[string][]string{"the key, as a number": {key.D.String()}} //nolint:staticcheck // what JSON would write
	for name, secret := range map[string][]byte{"the key": raw, "the text": []byte(planted), "the cluster secret": []byte(cluster)} {
		part := secret[8:16]
		forms[name] = []string{
			string(part), hex.EncodeToString(part), strings.Trim(fmt.Sprint([]int{int(part[0]), int(part[1]), int(part[2]), int(part[3])}), "[]"),
			base64.StdEncoding.EncodeToString(secret)[12:24], base64.URLEncoding.EncodeToString(secret)[12:24],
		}
	}
	return forms
}

// shown returns what a value shows of itself in fmt, in encodings and in logs. JSON and XML are left out if they fail.
func shown(value any) map[string]string {
	out := make(map[string]string)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%b", "%o", "%c", "%U", "%t", "%e", "%p"} {
		out["fmt "+verb] = fmt.Sprintf(verb, value)
	}
	if b, err := json.Marshal(value); err == nil {
		out["json"] = string(b)
	}
	if b, err := xml.Marshal(value); err == nil {
		out["xml"] = string(b)
	}
	var coded bytes.Buffer
	// Most values cannot be encoded, and must not have written the secret before the error.
	_ = gob.NewEncoder(&coded).Encode(value)
	out["gob"] = coded.String()
	for name, handler := range map[string]func(b *bytes.Buffer) slog.Handler{
		"slog text": func(b *bytes.Buffer) slog.Handler { return slog.NewTextHandler(b, nil) },
		"slog json": func(b *bytes.Buffer) slog.Handler { return slog.NewJSONHandler(b, nil) },
	} {
		var log bytes.Buffer
		slog.New(handler(&log)).Info("x", "value", value)
		out[name] = log.String()
	}
	return out
}

func TestSecretsHideEverywhere(t *testing.T) { // SEC-126
	cluster := security.NewSecret()
	src, err := security.NewClusterSource(cluster, "orders", "")
	if err != nil {
		t.Fatal(err)
	}
	forms := secretForms(t, src, cluster)
	values := map[string]any{"Source": src}
	for _, pointer := range secretTypes() {
		v := reflect.ValueOf(pointer).Elem()
		plant(t, v, src)
		name := v.Type().String()
		values[name], values["*"+name] = v.Interface(), pointer
		values["[]"+name] = reflect.Append(reflect.MakeSlice(reflect.SliceOf(v.Type()), 0, 1), v).Interface()
		values["map of "+name] = map[string]any{"a": v.Interface(), "b": pointer}
		if v.Comparable() {
			values["key of a map: "+name] = map[any]int{v.Interface(): 1}
		}
		type field struct{ Value any }
		values["field "+name] = field{v.Interface()}
		values["pointer in a field "+name] = &field{pointer}
		// Package fmt calls no methods of unexported fields.
		values["field that is not exported: "+name] = struct{ hidden any }{v.Interface()}
		values["pointer in a field that is not exported: "+name] = struct{ hidden any }{pointer}
		values["error about "+name] = fmt.Errorf("config %v: %w", v.Interface(), fs.ErrInvalid)
	}
	for name, value := range values {
		for how, text := range shown(value) {
			text = strings.ToLower(text)
			for what, parts := range forms {
				for _, part := range parts {
					if strings.Contains(text, strings.ToLower(part)) {
						t.Errorf("%s shows %s of %s: %.300q", how, what, name, text)
					}
				}
			}
		}
	}
}

// TestFieldsThatSoundLikeSecretsHide checks that every exported field of a public package that sounds like a secret has a
// type that hides it, or is known not to be one.
func TestFieldsThatSoundLikeSecretsHide(t *testing.T) { // SEC-126
	sounds := regexp.MustCompile(`(?i)secret|token|password|passphrase|credential|private|tls\.Certificate|crypto\.Signer|PrivateKey`)
	fields := 0
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && (entry.Name() == "internal" || entry.Name() == "integration" || entry.Name() == "bench" || entry.Name() == "examples" || strings.HasPrefix(entry.Name(), ".") && path != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for name, kind := range exportedFields(file) {
			fields++
			kind = strings.TrimPrefix(kind, "security.")
			_, known := innocent()[name]
			if _, field, _ := strings.Cut(name[strings.Index(name, ".")+1:], "."); (sounds.MatchString(field) || sounds.MatchString(kind)) && !known && kind != "Hidden" {
				t.Errorf("%s: %s is a %s: use security.Hidden, or say why it is not a secret", path, name, kind)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if fields < 100 {
		t.Errorf("only %d fields were seen", fields)
	}
}

// exportedFields returns the exported fields of the exported structs of a file, with the text of their types.
func exportedFields(file *ast.File) map[string]string {
	out := make(map[string]string)
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || !spec.Name.IsExported() {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true
		}
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				if name.IsExported() {
					out[file.Name.Name+"."+spec.Name.Name+"."+name.Name] = typeText(field.Type)
				}
			}
		}
		return true
	})
	return out
}

func typeText(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return typeText(e.X) + "." + e.Sel.Name
	case *ast.StarExpr:
		return typeText(e.X)
	case *ast.ArrayType:
		return typeText(e.Elt)
	}
	return ""
}
