"""What a task is made of: from the names a person gives to everything an installation needs, fixed at that moment."""

import msgspec

from ops_system.master.images.library import Images
from ops_system.master.images.profile_rules import NewProfile, network_with, place_problems
from ops_system.master.images.profiles import Profiles, template_of
from ops_system.master.images.rules import Image, check_layout_fits, fitting, newest, refuse
from ops_system.master.images.shelf import Shelf
from ops_system.model.catalogue import (
    TEMPLATE_KINDS,
    WITHOUT_SYSTEM,
    Release,
    check_method,
    find_release,
    missing_of,
)
from ops_system.model.errors import Invalid
from ops_system.model.layouts import DiskLayout, NetworkConfig
from ops_system.model.tasks import ImageRef, InstallMethod, InstallSpec


class Catalogue:
    """Images, profiles and releases as one."""

    def __init__(self, shelf: Shelf, images: Images, profiles: Profiles) -> None:
        self._shelf = shelf
        self.images = images
        self.profiles = profiles

    async def resolve(
        self,
        os_type: str,
        os_version: str = "",
        profile: str = "",
        disk_layout: DiskLayout | None = None,
        network: NetworkConfig | None = None,
        *,
        method: InstallMethod | None = None,
        arch: str = "amd64",
    ) -> InstallSpec:
        """Return everything an installation needs. What is given here of disks and network goes before the profile's.

        Where nobody chose a way it is the newest image of the release; without one, debootstrap.
        An image that is not there yet is left out (`catalogue.missing_of` names it; `complete` looks again): a task may
        be planned before its image is uploaded, and not be approved. Raises Invalid for a system, method, layout or
        network that cannot be, NotFound for a profile, Forbidden for an image whose signature is not trusted.
        """
        refuse(place_problems(disk_layout, network))
        plan = await self._profile(profile)
        chosen = method or (plan.method if profile else None)
        if chosen in WITHOUT_SYSTEM and not os_type:
            release = Release("", "", "other", ())
        else:
            release = _release(os_type, os_version, plan)
        images = await self._shelf.images()
        image = await self._image(images, plan, release, arch) if chosen in (None, "image") else None
        way = chosen or _way(release, image)
        check_method(release, way)
        layout = disk_layout or plan.disk_layout
        check_layout_fits(image, layout)
        is_told = way in TEMPLATE_KINDS
        return InstallSpec(
            method=way,
            os_type=release.os_type,
            os_version=release.os_version or os_version,
            profile=profile,
            image=image.ref() if image else None,
            kernel=await self._ref(images, plan.kernel) if is_told else None,
            initrd=await self._ref(images, plan.initrd) if is_told else None,
            kernel_args=plan.kernel_args or ("" if is_told else release.kernel_args),
            template=template_of(msgspec.structs.replace(plan, method=way)),
            values=plan.values,
            disk_layout=layout,
            network=network_with(network, plan.network),
            packages=plan.packages,
            ssh_keys=plan.ssh_keys,
            hardware_tests=plan.hardware_tests,
            enrol=plan.enrol,
        )

    async def complete(self, spec: InstallSpec) -> InstallSpec:
        """Return the spec with what it lacked, as far as that was uploaded meanwhile. Raises as `resolve`.

        What it has stays as it is, also when a newer image came.
        """
        if not missing_of(spec):
            return spec
        again = await self.resolve(spec.os_type, spec.os_version, spec.profile, method=spec.method)
        return msgspec.structs.replace(
            spec,
            image=spec.image or again.image,
            kernel=spec.kernel or again.kernel,
            initrd=spec.initrd or again.initrd,
            template=spec.template or again.template,
        )

    async def _profile(self, name: str) -> NewProfile:
        return await self.profiles.get(name) if name else NewProfile("")

    async def _image(self, images: list[Image], plan: NewProfile, release: Release, arch: str) -> Image | None:
        if plan.image:
            image = newest(_named(images, plan.image))
        else:
            image = newest(fitting(images, release, arch)) if release.os_version else None
        if image is not None:
            await self.images.check_signature(image)
        return image

    async def _ref(self, images: list[Image], reference: str) -> ImageRef | None:
        image = newest(_named(images, reference)) if reference else None
        if image is None:
            return None
        await self.images.check_signature(image)
        return image.ref()


def _named(images: list[Image], reference: str) -> list[Image]:
    name, _, version = reference.partition("/")
    return [image for image in images if image.name == name and version in ("", image.version)]


def _way(release: Release, image: Image | None) -> InstallMethod:
    """Return how a release is installed where nobody chose: from its image, else from its mirror where that goes."""
    return "image" if image is not None or "debootstrap" not in release.methods else "debootstrap"


def _release(os_type: str, os_version: str, plan: NewProfile) -> Release:
    """Return the release a task is for. Raises Invalid when task and profile name different ones."""
    if not plan.os_type:
        return find_release(os_type, os_version)
    planned = find_release(plan.os_type, plan.os_version)
    wanted = find_release(os_type, os_version) if os_type else planned
    if wanted != planned:
        raise Invalid(
            f"profile: {plan.name} installs {planned.name}, the task wants {wanted.name}",
            problems=["$.profile: of another system"],
            field="profile",
        )
    return planned
