"""The pack tool: builds and checks service packages."""
