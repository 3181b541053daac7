"""The command line, by feature: `sway COMMAND` is the module `COMMAND`, or the package with its `command`.

`produce` and `import` share the package `load`, because both send the rows of files. Commands do not import each
other. They share:

errors, configuration, settings_tree            settings of a command, and errors with a message for the user
cluster, committed, partitioner                 Kafka
topic_names, topic_plan, schema_subjects        Sway's topics and their schemas
files, example_files, training_file             readers of files
base_model, curves                              models
progress, untrusted                             the terminal
embedded                                        a local Kafka and Schema Registry
"""
