// Package deploy holds the files from which an operator starts. They are here for people;
// the program itself takes only the sample configuration, which `loa config example` prints.
package deploy

import _ "embed"

// ExampleConfig is the commented sample configuration, loa.example.yaml.
//
//go:embed loa.example.yaml
var ExampleConfig string
