"""Label Studio: review items are pushed to a project on a server, and the submitted annotations are pulled."""
